// The running runner's own record in its folder: what `runner invite` needs to know of it.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { replaceFile } from "../protocol/home.ts";
import { folderOwner } from "../protocol/lock.ts";
import { RunnerName } from "../protocol/messages.ts";
import { PeerText } from "../protocol/trust.ts";

const Running = v.strictObject({
  pid: v.number(),
  peer: PeerText,
  name: RunnerName,
  addresses: v.array(v.string()),
});
export type Running = v.InferOutput<typeof Running>;

const pathIn = (folder: string): string => join(folder, "runner.json");

export const tellRunning = (folder: string, running: Running): void =>
  replaceFile(pathIn(folder), `${JSON.stringify(running)}\n`);
export const tellStopped = (folder: string): void => rmSync(pathIn(folder), { force: true });

/** The runner that runs on this folder; `undefined` where none does. */
export function findRunning(folder: string): Running | undefined {
  try {
    const running = v.parse(Running, JSON.parse(readFileSync(pathIn(folder), "utf8")));
    // The file may be left from one that was killed, and its process id be another's by now; the lock knows better.
    return folderOwner(folder) === running.pid ? running : undefined;
  } catch {
    return undefined;
  }
}
