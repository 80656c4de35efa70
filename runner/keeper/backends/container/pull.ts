// Has the image on the engine, pulled where the job's policy says so, and tells how that goes. container.ts asks for a
// job's image and its services'.
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type Docker from "dockerode";
import * as v from "valibot";
import { limits } from "../../../../protocol/limits.ts";
import type { Container } from "../../../../protocol/place.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { Refused } from "../backend.ts";
import { credentialsFor } from "./credentials.ts";
import type { Engine } from "./engine.ts";
import { refusalOf, statusOf, wordsOf } from "./engine-error.ts";

/** One line of the engine's answer. A pull that failed answers 200, and says so in one of these. */
const Event = v.object({
  id: v.optional(v.string()),
  status: v.optional(v.string()),
  progressDetail: v.optional(v.object({ current: v.optional(v.number()), total: v.optional(v.number()) })),
  error: v.optional(v.string()),
});
type Event = v.InferOutput<typeof Event>;

/** Gives what the engine knows of the image; rejects with Refused where it cannot be had. */
export async function haveImage(
  engine: Engine,
  image: string,
  pull: Container["pull"],
  platform: string | undefined,
  note: (text: string) => void,
  cancelled: AbortSignal,
): Promise<Docker.ImageInspectInfo> {
  const found = await look(engine, image);
  if (found && pull !== "always" && isFor(found, platform)) return found;
  if (pull === "never") {
    if (found)
      throw new Refused("image", `the image ${image} is there, but not for ${platform}, and may not be pulled`);
    throw new Refused("image", `the image ${image} is not there, and may not be pulled: the job says pull: "never"`);
  }
  await pullImage(engine, image, platform, note, cancelled);
  const pulled = await look(engine, image);
  if (!pulled) throw new Refused("image", `the image ${image} was pulled, and is not there`);
  if (!isFor(pulled, platform))
    throw new Refused(
      "image",
      `the image ${image} was pulled, and is for ${pulled.Os}/${pulled.Architecture}, not for ${platform}`,
    );
  return pulled;
}

/** As engines name them; many say no variant, and then any fits. */
const ARCHITECTURES: Readonly<Record<string, string>> = { aarch64: "arm64", x86: "386", i386: "386" };

export function isFor(
  image: { readonly Os: string; readonly Architecture: string; readonly Variant?: string | undefined },
  platform: string | undefined,
): boolean {
  if (platform === undefined) return true;
  const [os, architecture = "", variant] = platform.split("/");
  if (os !== image.Os || (ARCHITECTURES[architecture] ?? architecture) !== image.Architecture) return false;
  return variant === undefined || !image.Variant || variant === image.Variant;
}

async function look({ docker }: Engine, image: string): Promise<Docker.ImageInspectInfo | undefined> {
  try {
    return await docker.getImage(image).inspect();
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw new Refused(statusOf(error) === undefined ? "engine" : "image", refusalOf(error, image).message);
  }
}

async function pullImage(
  { docker }: Engine,
  image: string,
  platform: string | undefined,
  note: (text: string) => void,
  cancelled: AbortSignal,
): Promise<void> {
  const began = performance.now();
  const auth = await credentialsFor(image, cancelled);
  let answer: Readable;
  try {
    // Without a tag an engine pulls every one there is.
    const fromImage = /[:@][^/]*$/.test(image) ? image : `${image}:latest`;
    const query = { fromImage, ...(platform === undefined ? {} : { platform }) };
    // Without a body: an engine that has not read one does not notice that its caller is gone, and pulls on.
    const options = { _query: query, _body: {}, abortSignal: cancelled };
    answer = (await docker.createImage((auth ?? {}) as Docker.AuthConfig, options)) as Readable;
  } catch (error) {
    if (statusOf(error) === undefined) throw new Refused("engine", refusalOf(error, image).message);
    throw new Refused("image", `the image ${image} cannot be pulled: ${wordsOf(error)}`);
  }
  note(`pulling ${image}`);
  const progress = progressOf(image);
  let toldAt = began;
  const abort = (): void => void answer.destroy(new Error("cancelled"));
  cancelled.addEventListener("abort", abort, { once: true });
  try {
    for await (const line of linesOf(answer)) {
      const event = parseEvent(line);
      if (event?.error !== undefined)
        throw new Refused("image", `the image ${image} cannot be pulled: ${oneLine(event.error).slice(0, 800)}`);
      if (event) progress.add(event);
      if (performance.now() - toldAt < limits.pullProgressMs) continue;
      toldAt = performance.now();
      note(progress.line());
    }
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Refused("engine", `the container engine went away while it pulled ${image}`, { cause: error });
  } finally {
    cancelled.removeEventListener("abort", abort);
    answer.destroy();
  }
  note(`pulled ${image} in ${((performance.now() - began) / 1_000).toFixed(1)} s`);
}

async function* linesOf(answer: Readable): AsyncGenerator<string> {
  const failed = new Promise<never>((_, reject) => answer.once("error", reject));
  failed.catch(() => {});
  const lines = createInterface({ input: answer, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await Promise.race([lines.next(), failed]);
    if (done) break;
    yield value;
  }
  if (answer.errored) throw answer.errored;
}

function parseEvent(line: string): Event | undefined {
  try {
    return v.parse(Event, JSON.parse(line));
  } catch {
    return undefined;
  }
}

/** Layers, and bytes of those that are being downloaded; each event is about one of them. */
export function progressOf(image: string): { add(event: Event): void; line(): string } {
  const layers = new Map<string, { current: number; total: number; done: boolean }>();
  return {
    add({ id, status = "", progressDetail }) {
      if (!id || !/^[0-9a-f]{12}/.test(id)) return;
      const layer = layers.get(id) ?? { current: 0, total: 0, done: false };
      layers.set(id, layer);
      if (status === "Downloading") {
        layer.current = progressDetail?.current ?? layer.current;
        layer.total = progressDetail?.total ?? layer.total;
      }
      if (/^(Download complete|Already exists|Pull complete)/.test(status)) {
        layer.done = true;
        layer.current = layer.total;
      }
    },
    line() {
      const all = [...layers.values()];
      const done = all.filter((layer) => layer.done).length;
      const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
      const current = all.reduce((sum, layer) => sum + layer.current, 0);
      const total = all.reduce((sum, layer) => sum + layer.total, 0);
      const bytes = total > 0 ? `, ${megabytes(current)} of ${megabytes(total)} MB` : "";
      return `pulling ${image}: ${done} of ${all.length} layers${bytes}`;
    },
  };
}
