// Brings what one container changed to files that others changed meanwhile: for commands of a driven job that ran at the
// same time. keep-files.ts asks.
import type { IncomingMessage } from "node:http";
import { posix } from "node:path";
import type Docker from "dockerode";
import type { Confinement } from "../../../../protocol/confinement.ts";
import { type Change, carried } from "./changes.ts";
import { confined } from "./confined.ts";
import { create } from "./create.ts";
import type { Engine } from "./engine.ts";
import { statusOf } from "./engine-error.ts";
import { unlessGone } from "./labels.ts";
import { endOf } from "./wait.ts";

/** Of Go's file modes, in which an engine tells what a path is. */
const IS_DIRECTORY = 2 ** 31;

/** A container, and what it changed. */
export interface Part {
  readonly from: Docker.Container;
  readonly changes: readonly Change[];
}

/**
 * A container of the image that has the changes of all too, not running; whoever asked removes it. Of what several changed
 * in different ways, one of them wins.
 */
export async function mergeFiles(
  engine: Engine,
  parts: readonly Part[],
  image: string,
  labels: Readonly<Record<string, string>>,
  confine: Confinement | undefined,
  user: string | undefined,
): Promise<Docker.Container> {
  const all = parts.map(({ from, changes }) => ({ from, ...carried(changes) }));
  const removed = all.flatMap((part) => part.removed);
  const into = await create(
    engine,
    confined(
      {
        Image: image,
        // Started only where something is to be removed: an archive can bring files, and take none away.
        Entrypoint: ["rm", "-rf", "--", ...removed],
        Cmd: [],
        // Where the job is not root, it removed nothing that only root can.
        User: (confine?.user && user) || "0",
        WorkingDir: "/",
        Labels: { ...labels },
        Healthcheck: { Test: ["NONE"] },
        HostConfig: {
          NetworkMode: "none",
          SecurityOpt: ["no-new-privileges"],
          LogConfig: { Type: "none", Config: {} },
        },
      },
      confine,
    ),
    undefined,
  );
  try {
    if (removed.length > 0) await run(engine, into);
    // What another command removed meanwhile has no place any more.
    for (const { from, written } of all) for (const change of written) await copy(from, into, change).catch(unlessGone);
    return into;
  } catch (error) {
    await into.remove({ force: true, v: true }).catch(() => {});
    throw error;
  }
}

/** An image without an rm keeps what one of two commands at the same time removed. */
async function run(engine: Engine, container: Docker.Container): Promise<void> {
  try {
    await container.start();
  } catch (error) {
    if (statusOf(error) === undefined) throw error;
    return;
  }
  const how = await endOf(engine, container.id);
  if ("lost" in how) throw new Error(how.lost);
}

async function copy(from: Docker.Container, into: Docker.Container, { Path, Kind }: Change): Promise<void> {
  const archive = (await from.getArchive({ path: Path })) as unknown as IncomingMessage;
  const { mode } = JSON.parse(
    String(Buffer.from(String(archive.headers["x-docker-container-path-stat"]), "base64")),
  ) as {
    mode: number;
  };
  // A directory whose own permissions changed: with it would come all that is in it.
  if (Kind !== 1 && Math.floor(mode / IS_DIRECTORY) % 2 === 1) return void archive.destroy();
  const broken = new AbortController();
  archive.once("close", () => {
    if (!archive.complete) broken.abort(new Error("the container engine went away"));
  });
  await into.putArchive(archive, { path: posix.dirname(Path), abortSignal: broken.signal } as never);
}
