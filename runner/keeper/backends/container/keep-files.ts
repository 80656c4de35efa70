// The files that a job's commands leave to those after them: a container that has ended becomes the image of the next ones,
// so that each starts from what all those that ended before it have left. Where it changed nothing of the image, which is
// most of the time, the image stays as it is. container.ts asks before each start.
import type Docker from "dockerode";
import * as v from "valibot";
import { limits } from "../../../../protocol/limits.ts";
import type { Container } from "../../../../protocol/place.ts";
import { type Change, mountedIn, ownChanges } from "./changes.ts";
import { create } from "./create.ts";
import type { Base, Place } from "./create-body.ts";
import type { Engine } from "./engine.ts";
import { mergeFiles } from "./merge-files.ts";

const Changes = v.nullish(v.array(v.object({ Path: v.string(), Kind: v.number() })), []);

interface Left {
  readonly ended: Ended;
  readonly changes: readonly Change[];
}

/** A container that has ended. */
export interface Ended {
  readonly container: Docker.Container;
  /** What it was made of. */
  readonly image: string;
  /** Variables that it had beyond the job's: its image would give them to all after it. */
  readonly variables: readonly string[];
}

export interface Files {
  /**
   * What the next container is made of; undefined where an image of one more layer would be too deep for the engine. One
   * is made at a time. Rejects where the engine fails; then it is tried again with the next.
   */
  next(cancelled: AbortSignal): Promise<Base | undefined>;
  ended(container: Ended): void;
}

export function keepFiles(
  engine: Engine,
  image: Docker.ImageInspectInfo,
  container: Container,
  { labels, confine }: Place,
  user: string | undefined,
): Files {
  const changesOfImage = Object.entries(labels).map(([name, value]) => `LABEL ${name}=${JSON.stringify(value)}`);
  const hasVolumes = Object.keys(image.Config?.Volumes ?? {}).length > 0;
  const environment = new Map((image.Config?.Env ?? []).map((entry) => [entry.split("=", 1)[0] as string, entry]));
  const waiting: Ended[] = [];
  const remembered = new Set<string>();
  let state = { image: image.Id, layers: image.RootFS?.Layers?.length ?? 0 };
  /** Never started: it has the image's volumes, which a committed image does not, for all. */
  let volumes: Docker.Container | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  async function next(cancelled: AbortSignal): Promise<Base | undefined> {
    cancelled.throwIfAborted();
    if (hasVolumes)
      volumes ??= await create(
        engine,
        { Image: image.Id, Entrypoint: ["-"], Cmd: [], Labels: { ...labels } },
        container.platform,
      );
    if (!container.readOnly && !(await keep(cancelled))) return undefined;
    return { image: state.image, volumesFrom: volumes?.id, restored: [...remembered].map(restore) };
  }

  /** What was waited for is forgotten once its changes are in the state. False where that has too many layers. */
  async function keep(cancelled: AbortSignal): Promise<boolean> {
    const merged: Left[] = [];
    for (const ended of [...waiting]) {
      cancelled.throwIfAborted();
      const changes = await changesOf(ended.container, cancelled);
      if (changes.length === 0) forget(ended);
      else if (state.layers >= limits.imageLayers) return false;
      else if (ended.image !== state.image) merged.push({ ended, changes });
      else {
        await commit(ended.container);
        for (const name of ended.variables) remembered.add(name);
        forget(ended);
      }
    }
    if (merged.length === 0) return true;
    if (state.layers >= limits.imageLayers) return false;
    cancelled.throwIfAborted();
    const parts = merged.map(({ ended, changes }) => ({ from: ended.container, changes }));
    const together = await mergeFiles(engine, parts, state.image, labels, confine, user);
    try {
      await commit(together, `USER ${image.Config?.User || "0"}`);
    } finally {
      remove(together);
    }
    for (const { ended } of merged) forget(ended);
    return true;
  }

  async function changesOf(one: Docker.Container, cancelled: AbortSignal): Promise<Change[]> {
    const told: unknown = await one.changes({ abortSignal: cancelled } as never);
    // An engine that has nothing to tell answers `null`, which the library hands on as it came.
    return ownChanges(v.parse(Changes, Buffer.isBuffer(told) ? JSON.parse(String(told)) : told), mountedIn(container));
  }

  function forget(ended: Ended): void {
    waiting.splice(waiting.indexOf(ended), 1);
    remove(ended.container);
  }

  async function commit(one: Docker.Container, ...more: string[]): Promise<void> {
    const changes = [...changesOfImage, ...more].join("\n");
    const { Id } = (await one.commit({ pause: false, changes } as never)) as unknown as { Id: string };
    state = { image: Id, layers: state.layers + 1 };
  }

  const remove = (one: Docker.Container): void => void one.remove({ force: true, v: true }).catch(() => {});

  /** As the image had it. Docker removes a variable that is given without a value; Podman can only make it empty. */
  const restore = (name: string): string => environment.get(name) ?? (engine.isPodman ? `${name}=` : name);

  return {
    next(cancelled) {
      const mine = turn.then(() => next(cancelled));
      turn = mine.catch(() => {});
      return mine;
    },
    ended: (container) => void waiting.push(container),
  };
}
