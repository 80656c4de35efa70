// How a runner's front reaches its keeper: in memory, where it is embedded, or on the socket of a process that may be
// older than the front and outlives it.
import { spawn } from "node:child_process";
import { closeSync, openSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ByteChannel } from "../../protocol/channel.ts";
import { asSortieError, messageOf, SortieError } from "../../protocol/errors.ts";
import { privateFolder } from "../../protocol/home.ts";
import { limits } from "../../protocol/limits.ts";
import { dialSocket } from "../../protocol/local-socket.ts";
import { folderOwner } from "../../protocol/lock.ts";
import { callJson } from "../../protocol/make-call.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import type { KeeperInfo } from "../../protocol/messages.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { KEEPER_PROTOCOL, openKeeper } from "./keeper.ts";
import { socketPath } from "./keeper-socket.ts";

export interface KeeperLink {
  /** A channel for one /keeper/… call. Rejects with KEEPER_FAILED, or KEEPER_VERSION. */
  open(): Promise<ByteChannel>;
  /** The front leaves; resolves when the keeper has gone as well, unless it still has jobs. */
  close(): Promise<void>;
  /** KILL to the processes of every job, now, where the keeper is this process. False where its folder is still needed. */
  kill(): boolean;
}

/** A keeper in this process. */
export async function embeddedKeeper(
  folder: string,
  log?: (line: string) => void,
  audit?: string,
): Promise<KeeperLink> {
  const keeper = await openKeeper({ folder, audit, ...(log ? { log } : {}) });
  return {
    async open() {
      const [ours, theirs] = memoryChannelPair();
      void serveCall(theirs, keeper.handlers, { peer: "front", name: "the front" });
      return ours;
    },
    close: () => keeper.close(),
    kill: () => keeper.kill(),
  };
}

/** The log is begun anew at a start when it is longer. */
const LONGEST_LOG = 1024 * 1024;
const LOOK_EVERY_MS = 20;

export interface KeeperProcessOptions {
  /** What Node runs. */
  readonly program?: string;
  /** The folder of its audit. */
  readonly audit?: string;
}

/**
 * The keeper process of the folder; starts one where none runs, also later, when it has gone.
 * Rejects with KEEPER_VERSION where one of another version still has jobs.
 */
export async function keeperProcess(folder: string, options: KeeperProcessOptions = {}): Promise<KeeperLink> {
  const program = [options.program ?? keeperProgram(), folder, ...(options.audit === undefined ? [] : [options.audit])];
  privateFolder(folder);
  let starting: Promise<void> | undefined;
  let closed = false;

  async function open(): Promise<ByteChannel> {
    const channel = await dial(folder);
    if (channel) return channel;
    if (closed) throw new SortieError("KEEPER_FAILED", "The runner is stopping.");
    starting ??= startKeeper(folder, program).finally(() => {
      starting = undefined;
    });
    await starting;
    const started = await dial(folder);
    if (!started) throw failed(folder, "it went away at once");
    return started;
  }

  /** One that is just leaving may have taken the connection, and is followed by another one. */
  async function ask(): Promise<KeeperInfo> {
    const givesUp = performance.now() + limits.keeperStartMs;
    for (;;) {
      try {
        return await callJson(await open(), "/keeper/info", {});
      } catch (error) {
        if (asSortieError(error).code !== "CONNECTION_LOST" || performance.now() > givesUp) throw error;
        await delay(LOOK_EVERY_MS);
      }
    }
  }

  async function check(): Promise<void> {
    const info = await ask();
    if (info.protocol === KEEPER_PROTOCOL) return;
    await dismiss(folder, info);
    const next = await ask();
    if (next.protocol !== KEEPER_PROTOCOL) throw failed(folder, `it speaks version ${next.protocol} again`);
  }

  await check();
  return {
    open,
    async close() {
      closed = true;
      const channel = await dial(folder);
      // It stays where it has jobs.
      if (channel) await callJson(channel, "/keeper/leave", {}).catch(() => {});
    },
    kill: () => true,
  };
}

/** Asks a keeper of another version to leave, which it does when it has no jobs. */
async function dismiss(folder: string, info: KeeperInfo): Promise<void> {
  const channel = await dial(folder);
  try {
    if (channel) await callJson(channel, "/keeper/leave", {});
  } catch {
    const jobs = `${info.running} ${info.running === 1 ? "job" : "jobs"}`;
    throw new SortieError(
      "KEEPER_VERSION",
      `The keeper of ${folder} is of version ${info.version} (process ${info.pid}) and still has ${jobs}.`,
    );
  }
  const givesUp = performance.now() + limits.keeperStartMs;
  for (let there = await dial(folder); there; there = await dial(folder)) {
    there.abort(new SortieError("CONNECTION_LOST", "Only looked."));
    if (performance.now() > givesUp) throw failed(folder, `the one of version ${info.version} does not leave`);
    await delay(LOOK_EVERY_MS);
  }
}

/** A channel to the keeper that runs; `undefined` where none does. */
async function dial(folder: string): Promise<ByteChannel | undefined> {
  const givesUp = performance.now() + limits.keeperStartMs;
  for (;;) {
    const channel = await dialSocket(socketPath(folder)).catch((error: unknown) => {
      throw failed(folder, messageOf(error));
    });
    if (channel !== "busy") return channel;
    if (performance.now() > givesUp) throw failed(folder, "it takes no connections");
    await delay(LOOK_EVERY_MS);
  }
}

async function startKeeper(folder: string, program: readonly string[]): Promise<void> {
  const path = join(folder, "keeper.log");
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LONGEST_LOG) truncateSync(path);
  const log = openSync(path, "a", 0o600);
  let gone: string | undefined;
  try {
    // A session of its own: Ctrl-C in the front's terminal is not meant for it, and it stays when the terminal goes.
    const child = spawn(process.execPath, [...program], { detached: true, cwd: "/", stdio: ["ignore", log, log] });
    child.once("error", (error) => {
      gone = error.message;
    });
    child.once("exit", (code, signal) => {
      gone ??= `it exited with ${signal ?? code}`;
    });
    child.unref();
  } finally {
    closeSync(log);
  }
  const givesUp = performance.now() + limits.keeperStartMs;
  for (;;) {
    const channel = await dial(folder);
    if (channel) return channel.abort(new SortieError("CONNECTION_LOST", "Only looked."));
    // Another front may have been faster, and its keeper is coming up.
    if (gone !== undefined && folderOwner(folder) === undefined) throw failed(folder, gone);
    if (performance.now() > givesUp) throw failed(folder, "it did not come up in time");
    await delay(LOOK_EVERY_MS);
  }
}

const failed = (folder: string, why: string): SortieError =>
  new SortieError("KEEPER_FAILED", `The keeper of ${folder} cannot be used: ${why}.`, {
    hint: `Its own words are in ${join(folder, "keeper.log")}.`,
  });

/** The built keeper beside the built commands; its source where the sources themselves are run. */
function keeperProgram(): string {
  const here = import.meta.dirname;
  return import.meta.filename.endsWith(".ts")
    ? join(here, "../../scripts/bin/keeper.ts")
    : join(here.replace(/\/chunks$/, ""), "keeper.js");
}
