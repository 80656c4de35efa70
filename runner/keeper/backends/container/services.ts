// The containers beside a job's own: started together, waited for until each is healthy, their lines told as notes, and
// stopped at the job's end. container.ts starts and ends them; labels.ts removes them.
import { StringDecoder } from "node:string_decoder";
import { setTimeout as delay } from "node:timers/promises";
import type Docker from "dockerode";
import { limits } from "../../../../protocol/limits.ts";
import type { Service } from "../../../../protocol/place.ts";
import type { RedactedStream } from "../../../../protocol/redact.ts";
import { within } from "../../../../protocol/within.ts";
import { Refused, type SiteEvents } from "../backend.ts";
import { attach } from "./attach.ts";
import { confined } from "./confined.ts";
import { create } from "./create.ts";
import { argvOf, type Place, serviceBody } from "./create-body.ts";
import { demux } from "./demux.ts";
import type { Engine } from "./engine.ts";
import { refusalOf, wordsOf } from "./engine-error.ts";
import { execute } from "./signals.ts";
import { endOf } from "./wait.ts";

interface Started {
  readonly service: Service;
  readonly container: Docker.Container;
  /** Resolves with its code, or undefined where the engine does not tell. */
  readonly exited: Promise<number | undefined>;
  /** After its last line. */
  readonly silent: Promise<void>;
}

export interface Services {
  /** Stops them, kills what is left after a while; resolves after the last line of each. */
  end(): Promise<void>;
}

/** `image`: what was looked at, whatever its name means by now. Rejects with Refused where one does not come up; those that did are for the caller to remove. */
export async function startServices(
  engine: Engine,
  services: readonly { readonly service: Service; readonly image: string }[],
  place: Place,
  { note, redaction }: Pick<SiteEvents, "note" | "redaction">,
  cancelled: AbortSignal,
): Promise<Services> {
  // One that does not come up ends the waiting for the others.
  const failed = new AbortController();
  const stop = AbortSignal.any([cancelled, failed.signal]);
  const begun: Started[] = [];
  let over = false;
  const tell = (from: string, text: string): void => {
    if (!over) note(from, text);
  };
  const endAll = async (how: (started: Started) => Promise<void>): Promise<void> => {
    await Promise.all(begun.map(how));
    over = true;
  };
  const all = services.map(async ({ service, image }) => {
    const started = await startService(engine, service, image, place, { note: tell, redaction });
    begun.push(started);
    await waitUntilHealthy(engine, started, stop);
  });
  try {
    await Promise.all(all);
    return { end: () => endAll(endService) };
  } catch (error) {
    failed.abort();
    await Promise.allSettled(all);
    await endAll(killService);
    throw error;
  }
}

async function startService(
  engine: Engine,
  service: Service,
  image: string,
  place: Place,
  { note, redaction }: Pick<SiteEvents, "note" | "redaction">,
): Promise<Started> {
  try {
    const container = await create(
      engine,
      confined(serviceBody({ ...service, image }, place), place.confine),
      undefined,
    );
    const { stdout, stderr } = demux(await attach(engine, container.id, "outputs"));
    const told = [stdout, stderr].map((output) =>
      tellLines(output, redaction?.stream(), (text) => note(service.name, text)),
    );
    await container.start();
    const exited = endOf(engine, container.id).then((state) => ("code" in state ? state.code : undefined));
    return { service, container, exited, silent: Promise.all(told).then(() => {}) };
  } catch (error) {
    const { stage, message } = refusalOf(error, service.image);
    throw new Refused(stage === "engine" ? "engine" : "service", `the service ${service.name}: ${message}`);
  }
}

async function waitUntilHealthy(engine: Engine, started: Started, stop: AbortSignal): Promise<void> {
  const { service, exited } = started;
  const settled = new AbortController();
  const signal = AbortSignal.any([stop, settled.signal]);
  const ended = exited.then((code) => `ended${code === undefined ? "" : ` with code ${code}`} before it was healthy`);
  const late = delay(service.healthyWithinMs, undefined, { signal }).then(
    () => `was not healthy within ${service.healthyWithinMs / 1_000} s`,
  );
  try {
    const why = await Promise.race([becomesHealthy(engine, started, signal), ended, late]);
    if (why !== undefined) throw new Refused("service", `the service ${service.name} ${why}; its lines are in the log`);
  } finally {
    settled.abort();
    late.catch(() => {});
  }
}

/** Resolves once it is; rejects when stopped. */
async function becomesHealthy(engine: Engine, { service, container }: Started, stop: AbortSignal): Promise<undefined> {
  const { health } = service;
  for (;;) {
    stop.throwIfAborted();
    if (health) {
      const code = await execute(engine, container, argvOf(health.command), undefined, stop).catch(() => -1);
      if (code === 0) return;
    } else {
      const { State } = await container.inspect();
      const status = State.Health?.Status;
      if (State.Running && (!status || status === "none" || status === "healthy")) return;
    }
    await delay(health?.everyMs ?? limits.serviceLookMs, undefined, { signal: stop });
  }
}

/** As its image wants to be stopped: a database's STOPSIGNAL is not always TERM. */
async function endService({ container, exited, silent }: Started): Promise<void> {
  const stopped = container.stop({ t: limits.serviceStopMs / 1_000 }).catch(() => {});
  await within(Promise.all([stopped, exited, silent]), limits.serviceStopMs + limits.killedWithinMs);
}

/** Nobody will use it. */
async function killService({ container, silent }: Started): Promise<void> {
  const killed = container.kill({ signal: "SIGKILL" }).catch(() => {});
  await within(Promise.all([killed, silent]), limits.killedWithinMs);
}

/**
 * Whole lines as they come, at most a note's length together; what has no line's end is told at the end. Resolves after
 * the last one.
 */
function tellLines(
  output: NodeJS.ReadableStream,
  redacted: RedactedStream | undefined,
  tell: (text: string) => void,
): Promise<void> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  const say = (text: string): void => {
    for (let at = 0; at < text.length; at += limits.noteCharacters / 4)
      tell(text.slice(at, at + limits.noteCharacters / 4));
  };
  output.on("data", (bytes: Buffer) => {
    rest += decoder.write(redacted ? redacted.push(bytes) : bytes);
    const end = rest.length > limits.noteCharacters ? rest.length : rest.lastIndexOf("\n");
    if (end < 0) return;
    say(rest.slice(0, end).replace(/\n$/, ""));
    rest = rest.slice(end + (rest[end] === "\n" ? 1 : 0));
  });
  return new Promise((resolve) => {
    output.on("end", () => {
      say((rest + (redacted ? decoder.write(redacted.end()) : "") + decoder.end()).replace(/\n$/, ""));
      resolve();
    });
  });
}

/**
 * An internal network's containers still reach whatever the engine's machine serves on its own address in it; since Docker
 * 28 it can do without that address.
 */
const WITHOUT_THE_MACHINE = { "com.docker.network.bridge.gateway_mode_ipv4": "isolated" };

/** Only they and the job's own containers are on it; `internal`: without a way out. */
export const serviceNetwork = async (
  { docker, isPodman, major }: Engine,
  name: string,
  labels: Record<string, string>,
  internal: boolean,
): Promise<void> => {
  try {
    await docker.createNetwork({
      Name: name,
      Labels: labels,
      CheckDuplicate: true,
      ...(internal ? { Internal: true } : {}),
      ...(internal && !isPodman && major >= 28 ? { Options: WITHOUT_THE_MACHINE } : {}),
    } as Docker.NetworkCreateOptions);
  } catch (error) {
    throw new Refused("service", `the services' network could not be made: ${wordsOf(error)}`);
  }
};
