// A run from its first coordinator process to its end: whenever the process is gone without an end, another one resumes
// the run, as a person or a supervisor would.
import { setTimeout as delay } from "node:timers/promises";
import type { Live } from "../rig/rig.ts";
import { lastLines, SILENCE, type Site } from "./site.ts";

/** An attempt as `coordinator show --json` has it. */
export interface ShownAttempt {
  readonly id: string;
  readonly endedAt: number | null;
  readonly exit?: { readonly reason: string };
  readonly message: string | null;
  readonly gap: string | null;
  readonly log: string;
}
export interface ShownRun {
  readonly id: string;
  readonly state: string;
  readonly jobs: readonly {
    readonly name: string;
    readonly outcome: string | null;
    readonly message: string | null;
    readonly attempts: readonly ShownAttempt[];
  }[];
}

export class Conduct {
  /** Of the run; resolves once it is on record. */
  readonly run: Promise<string>;
  /** Coordinator processes, one after the other; the last one may still run. */
  readonly #lives: Live[] = [];
  /** What the first process told as events, one a line: where it was the only one, and ended by itself. */
  told: string | undefined;
  readonly ended: Promise<void>;
  readonly #site: Site;
  #pauseMs = 0;
  #stopped = false;
  /** While a disk is full, nobody resumes. */
  room: Promise<void> = Promise.resolve();

  constructor(site: Site, recipe: string) {
    this.#site = site;
    const first = this.#start("run", recipe);
    this.run = first.waitFor(/"type":"run-started".*?"run":"([^"]+)"/).then((match) => match[1] as string);
    this.run.catch(() => {});
    this.ended = this.#conduct(first);
    this.ended.catch(() => {});
  }

  #start(...args: string[]): Live {
    const env = this.#site.environment("coordinator");
    const live = this.#site.rig.spawnCoordinator([...args, "--format", "json", "--silence-after", SILENCE], { env });
    live.child.stdin.end();
    this.#lives.push(live);
    return live;
  }

  async #conduct(first: Live): Promise<void> {
    const run = await this.run;
    for (let live = first; ; live = this.#start("resume", run)) {
      const { text, signal } = await live.ended;
      this.told = live === first && signal === null ? text : undefined;
      if (this.#stopped || (await this.show()).state !== "interrupted") return;
      await this.room;
      await delay(this.#pauseMs);
    }
  }

  /** Coordinator processes so far. */
  get processes(): number {
    return this.#lives.length;
  }

  get #live(): Live | undefined {
    return this.#lives.at(-1);
  }

  /** Of each process: how it ended, what it said, and what it told of the run but for its output. */
  words(): string[] {
    return this.#lives.flatMap((live, index) => {
      const { signalCode, exitCode } = live.child;
      const lines = live.stdout().split("\n");
      const events = lastLines(lines.filter((line) => !line.includes('"type":"job-output"')).join("\n"));
      const ended = signalCode ?? exitCode ?? "it still runs";
      return [`coordinator ${index + 1}: ${ended}`, ...lastLines(live.stderr()), ...events];
    });
  }

  /** Kills the process that conducts now; the next one comes after the pause. */
  kill(pauseMs: number): boolean {
    this.#pauseMs = pauseMs;
    return this.#live?.child.kill("SIGKILL") ?? false;
  }

  signal(name: NodeJS.Signals): Live | undefined {
    this.#live?.child.kill(name);
    return this.#live;
  }

  get isLive(): boolean {
    return this.#live !== undefined && this.#live.child.exitCode === null && this.#live.child.signalCode === null;
  }

  /** Nobody resumes any more. */
  stop(): void {
    this.#stopped = true;
    this.signal("SIGCONT");
    this.kill(0);
  }

  async show(): Promise<ShownRun> {
    const shown = await this.#site.rig.coordinator(["show", await this.run, "--json"]);
    if (shown.code !== 0) throw new Error(`show failed: ${shown.stderr}`);
    return JSON.parse(shown.text) as ShownRun;
  }
}
