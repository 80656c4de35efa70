// The keeper as a process of its own: it answers on a socket in its folder, goes on without a front, and goes away by
// itself when there is neither a front nor a job. `runner start` starts it, through keeper-link.ts.
import { existsSync, rmSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { SortieError } from "../../protocol/errors.ts";
import { privateFolder } from "../../protocol/home.ts";
import { limits } from "../../protocol/limits.ts";
import { lockFolder } from "../../protocol/lock.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { socketChannel, socketOptions } from "../../protocol/socket-channel.ts";
import { oneLine } from "../../protocol/text.ts";
import { openKeeper } from "./keeper.ts";
import { socketPath } from "./keeper-socket.ts";

/** Serves the folder until there has been nothing left to keep for `idleMs`; with an audit in the other folder. */
export async function runKeeper(
  folder: string,
  { audit, idleMs = limits.keeperIdleMs }: { readonly audit?: string | undefined; readonly idleMs?: number } = {},
): Promise<void> {
  const log = (line: string): void => {
    try {
      // By hand: a stream's error would end this process, and its jobs, when the disk of its own log is full.
      writeSync(process.stderr.fd, `${new Date().toISOString()} ${oneLine(line)}\n`);
    } catch {
      // There is nobody else to tell.
    }
  };
  const unlock = await lockSoon(privateFolder(folder));
  const left = Promise.withResolvers<void>();
  const keeper = await openKeeper({ folder, audit, log, onLeave: left.resolve });
  const path = socketPath(folder);
  const server = createServer({ ...socketOptions }, (socket) => {
    // Nobody but this user can open the folder that the socket is in.
    void serveCall(socketChannel(socket), keeper.handlers, { peer: "front", name: "the front" });
  });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  }).catch((error: Error) => {
    throw new SortieError("KEEPER_FAILED", `The keeper cannot listen in ${folder}: ${error.message}.`);
  });
  log(`keeping the jobs of ${folder}, process ${process.pid}`);

  let idle: NodeJS.Timeout | undefined;
  const look = (): void => {
    clearTimeout(idle);
    if (keeper.running === 0 && !keeper.watched) idle = setTimeout(left.resolve, idleMs);
  };
  keeper.onChange(look);
  look();
  // A front that is there decides; without one, whoever asks this process to end means its jobs.
  const onSignal = (): void => {
    if (!keeper.watched) left.resolve();
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, onSignal);

  await left.promise;
  // Removed first: a front that comes now finds no keeper here, and starts another when the lock is free.
  rmSync(path, { force: true });
  server.close();
  await keeper.close();
  unlock();
  log("leaving");
}

/** The keeper before this one may still be leaving. */
async function lockSoon(folder: string): Promise<() => void> {
  const givesUp = performance.now() + limits.keeperStartMs / 2;
  for (;;) {
    try {
      return lockFolder(folder);
    } catch (error) {
      // One that is leaving has taken its socket away; one that serves, or is about to, needs no second.
      if (existsSync(socketPath(folder)) || performance.now() > givesUp) throw error;
      await delay(20);
    }
  }
}
