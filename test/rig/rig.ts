// Real runners and coordinators through the built commands, each with a state folder of its own. Disposing the rig
// stops what it started, and fails the test where a process or a job's directory is left.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { onTestFailed } from "vitest";
import { describeProcess, processesOf } from "./processes.ts";

export const root = join(import.meta.dirname, "../..");
const bin = (name: string): string => join(root, "dist", `${name}.js`);
/** Many times what anything here takes on a quiet machine. */
const WAIT_MS = 30_000;
/** So much of each output of a command is told with a test that fails. */
const TOLD = 2_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** stdout as text. */
  readonly text: string;
}

/** A command under way. */
export interface Live {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  stdout(): string;
  stderr(): string;
  /** Resolves once what was written to stdout or stderr so far matches. */
  waitFor(pattern: RegExp): Promise<RegExpMatchArray>;
}

export interface RunnerProcess extends Live {
  readonly name: string;
  readonly home: string;
  readonly peer: string;
  readonly address: string;
  readonly invite: string;
  readonly pid: number;
  stop(signal?: NodeJS.Signals): Promise<Ended>;
}

export interface RunOptions {
  /** A network namespace that it runs in; needs root. */
  readonly network?: string | undefined;
  readonly input?: Uint8Array | string;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
}

export interface JoinedOptions {
  readonly args?: readonly string[];
  /** Further words of `coordinator invite`; where it listens, at the first. */
  readonly invite?: readonly string[];
  readonly home?: string;
  readonly again?: boolean;
  readonly networks?: { readonly coordinator: string; readonly runner: string } | undefined;
}

/**
 * Listens on a free port of an address of its own: between two commands that listen there nobody does, and on 127.0.0.1 the
 * port could be given to somebody else.
 */
export const LOOPBACK_HOST = `127.${[...randomBytes(3)].map((byte) => 1 + (byte % 254)).join(".")}`;
export const LOOPBACK = ["--listen", `/ip4/${LOOPBACK_HOST}/tcp/0`];

const PRESS_MS = 400;

export class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), "sortie-test-"));
  readonly home = join(this.folder, "coordinator-home");
  readonly #live: Live[] = [];
  readonly #runners: RunnerProcess[] = [];

  /** Starts `runner start` on a free port, and waits until it listens. */
  async startRunner(
    name = "w1",
    args: readonly string[] = ["-A", "--slots", "4"],
    home = join(this.folder, name),
    { listen = "/ip4/127.0.0.1/tcp/0", env = {} }: { listen?: string; env?: Record<string, string> } = {},
  ): Promise<RunnerProcess> {
    const live = this.#spawn("runner", ["start", "--name", name, "--listen", listen, ...args], {
      env: { SORTIE_HOME: home, ...env },
    });
    const [, invite = ""] = await live.waitFor(/'(sortie:[^']+)'/);
    const [, address = ""] = await live.waitFor(/listening: (\S+)/);
    return this.#runner(live, { name, home, invite, address });
  }

  /**
   * Starts a runner that listens on nothing, and dials this coordinator: by an invite of its own, or with `again` by what it
   * knows from before.
   */
  async joinedRunner(
    name = "w1",
    {
      args = ["-A", "--slots", "4"],
      invite = [],
      home = join(this.folder, name),
      again = false,
      networks,
    }: JoinedOptions = {},
  ): Promise<RunnerProcess> {
    const env = { SORTIE_HOME: home };
    const start = ["start", "--name", name, ...args];
    if (again) {
      const listen = ["--listen", "/ip4/127.0.0.1/tcp/0"];
      const live = this.#spawn("runner", [...start, ...listen], { env, network: networks?.runner });
      await live.waitFor(/dials \S+ \(/);
      return this.#runner(live, { name, home, invite: "", address: "" });
    }
    const inviting = this.#spawn("coordinator", ["invite", ...invite], { network: networks?.coordinator });
    const [, url = ""] = await inviting.waitFor(/(sortie:\/\S+)/);
    const live = this.#spawn("runner", [...start, "--join", url], { env, network: networks?.runner });
    await live.waitFor(/dials \S+ \(/);
    const { code, stderr } = await inviting.ended;
    if (code !== 0) throw new Error(`joining failed: ${stderr}`);
    return this.#runner(live, { name, home, invite: url, address: "" });
  }

  async #runner(live: Live, of: Pick<RunnerProcess, "name" | "home" | "invite" | "address">): Promise<RunnerProcess> {
    const [, peer = ""] = await live.waitFor(/peer ID: (\S+)/);
    const runner: RunnerProcess = {
      ...live,
      ...of,
      peer,
      pid: live.child.pid as number,
      stop: async (signal = "SIGTERM") => {
        live.child.kill(signal);
        return live.ended;
      },
    };
    this.#runners.push(runner);
    return runner;
  }

  /** Starts a runner and pairs the coordinator with it. */
  async pairedRunner(name = "w1", args?: readonly string[]): Promise<RunnerProcess> {
    const runner = await this.startRunner(name, args);
    const added = await this.coordinator(["add", runner.invite]);
    if (added.code !== 0) throw new Error(`pairing failed: ${added.stderr}`);
    return runner;
  }

  /** Runs `coordinator …` to its end. */
  async coordinator(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const live = this.spawnCoordinator(args, options);
    live.child.stdin.end(options.input ?? "");
    return live.ended;
  }

  /** Starts `coordinator …`; its stdin stays open. */
  spawnCoordinator(args: readonly string[], options: RunOptions = {}): Live {
    return this.#spawn("coordinator", args, options);
  }

  async runner(args: readonly string[], home: string, input = ""): Promise<Ended> {
    return this.spawnRunner(args, home, input).ended;
  }

  /** Starts `runner …`, with this as its stdin. */
  spawnRunner(args: readonly string[], home: string, input = ""): Live {
    const live = this.#spawn("runner", args, { env: { SORTIE_HOME: home } });
    live.child.stdin.end(input);
    return live;
  }

  /** Writes a recipe into a project that has "sortie" installed, and gives its path. */
  recipe(source: string, name = "recipe.ts"): string {
    const project = join(this.folder, "project");
    mkdirSync(join(project, "node_modules"), { recursive: true });
    try {
      symlinkSync(root, join(project, "node_modules", "sortie"));
      for (const schemas of ["valibot", "zod", "arktype"])
        symlinkSync(join(root, "node_modules", schemas), join(project, "node_modules", schemas));
      writeFileSync(join(project, "package.json"), '{ "type": "module" }');
    } catch {
      // It is there from the recipe before.
    }
    const path = join(project, name);
    writeFileSync(path, source);
    return path;
  }

  #spawn(command: string, args: readonly string[], options: RunOptions): Live {
    const { NODE_OPTIONS: _, VITEST: __, CI: ___, FORCE_COLOR: ____, ...rest } = process.env;
    const { GITHUB_ACTIONS: _____, GITLAB_CI: ______, GITHUB_STEP_SUMMARY: _______, ...inherited } = rest;
    const inside = options.network === undefined ? [] : ["ip", "netns", "exec", options.network];
    const [program = "", ...words] = [...inside, process.execPath, bin(command), ...args];
    const child = spawn(program, words, {
      cwd: options.cwd ?? root,
      env: { ...inherited, SORTIE_HOME: this.home, ...options.env },
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const watchers = new Set<() => void>();
    // The exit may come before the last of what was written.
    let closed = false;
    const collect = (list: Buffer[]) => (bytes: Buffer) => {
      list.push(bytes);
      for (const watcher of watchers) watcher();
    };
    // It may end, or close its input, before all of that is written: what it came to says so.
    child.stdin.on("error", () => {});
    child.stdout.on("data", collect(stdout));
    child.stderr.on("data", collect(stderr));
    const ended = new Promise<Ended>((resolve) => {
      child.on("close", (code, signal) => {
        closed = true;
        resolve({
          code,
          signal,
          stdout: Buffer.concat(stdout),
          stderr: Buffer.concat(stderr).toString(),
          text: Buffer.concat(stdout).toString(),
        });
        for (const watcher of watchers) watcher();
      });
    });
    const said = (): string => Buffer.concat(stdout).toString() + Buffer.concat(stderr).toString();
    const live: Live = {
      child,
      ended,
      stdout: () => Buffer.concat(stdout).toString(),
      stderr: () => Buffer.concat(stderr).toString(),
      waitFor: (pattern) =>
        new Promise((resolve, reject) => {
          const look = (): void => {
            const match = said().match(pattern);
            if (!match && !closed) return;
            clearTimeout(late);
            watchers.delete(look);
            if (match) resolve(match);
            else reject(new Error(`${command} ended without ${pattern}: ${said()}`));
          };
          const late = setTimeout(() => {
            watchers.delete(look);
            reject(new Error(`no ${pattern} in time: ${said()}`));
          }, WAIT_MS);
          watchers.add(look);
          look();
        }),
    };
    this.#live.push(live);
    try {
      onTestFailed(() => console.error(tellOf([command, ...args], live)));
    } catch {
      // In a hook, which is no test.
    }
    return live;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const live of this.#live)
        if (live.child.exitCode === null && live.child.signalCode === null) live.child.kill("SIGTERM");
      for (const runner of this.#runners) void pressAgain(runner).catch(() => {});
      const stuck = await Promise.race([
        Promise.all(this.#live.map((live) => live.ended)).then(() => false),
        delay(WAIT_MS, true, { ref: false }),
      ]);
      for (const live of this.#live) live.child.kill("SIGKILL");
      if (stuck) throw new Error(`a command did not end within ${WAIT_MS / 1_000} s of SIGTERM`);
      const left = await until(
        () => processesOf(this.folder),
        (pids) => pids.length === 0,
      );
      if (left.length > 0) throw new Error(`processes were left behind: ${left.map(describeProcess).join("; ")}`);
      for (const runner of this.#runners) {
        if ((await runner.ended).signal === "SIGKILL") continue;
        const folders = readdirSync(join(runner.home, "runner", "keeper", "work"));
        if (folders.length > 0) throw new Error(`jobs' directories were left behind: ${folders.join(", ")}`);
      }
    } finally {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

/** As long as a person takes to press Ctrl-C again: what comes sooner is the same press, passed on by npx. */
export const secondPress = (): Promise<void> => delay(PRESS_MS);

/**
 * A runner drains at the first signal, and cancels what runs at the second. It is sent once the first one was seen: as late as
 * a busy machine lets it be, that is else so soon before the second that both are one press.
 */
async function pressAgain(runner: RunnerProcess): Promise<void> {
  await runner.waitFor(/draining: no new jobs/);
  await secondPress();
  runner.child.kill("SIGTERM");
}

/** What a command came to: an assertion about its output alone tells not why that is another one. */
const tellOf = (words: readonly string[], { child, ...said }: Live): string => {
  const shown = (name: "stdout" | "stderr"): string =>
    said[name]() ? `\n--- ${name}\n${said[name]().slice(-TOLD)}` : "";
  const how = child.exitCode ?? child.signalCode;
  return `$ ${words.join(" ")}\n${how === null ? "runs" : `ended with ${how}`}${shown("stdout")}${shown("stderr")}`;
};

/** Looks until the value is as wanted, for half a minute at most, and gives the last one seen. */
export async function until<T>(look: () => T | Promise<T>, isWanted: (value: T) => boolean): Promise<T> {
  const givesUp = Date.now() + WAIT_MS;
  for (;;) {
    const value = await look();
    if (isWanted(value) || Date.now() > givesUp) return value;
    await delay(20);
  }
}
