// One step in a container of its own: created, attached, started, read to the end, and how it ended. container.ts starts
// steps; the container stays until the job is over, or until the next step's is made of it.
import type { Duplex, Writable } from "node:stream";
import type Docker from "dockerode";
import { type Ending, type SignalName, signalOf } from "../../../../protocol/exit.ts";
import { limits } from "../../../../protocol/limits.ts";
import { within } from "../../../../protocol/within.ts";
import type { Ended, Refusal, RunningCommand, Settled } from "../backend.ts";
import { endingOf, NOTHING_ENDED } from "../ending.ts";
import { notStarted } from "../not-started.ts";
import { attach } from "./attach.ts";
import { create } from "./create.ts";
import { demux } from "./demux.ts";
import type { Engine } from "./engine.ts";
import { refusalOf } from "./engine-error.ts";
import { withoutInitFailure } from "./init-failure.ts";
import { type Process, processesIn, signalAll } from "./signals.ts";
import { stdinOf } from "./stdin.ts";
import { endOf, outOfMemoryLater, type State } from "./wait.ts";

export interface Step {
  readonly body: Docker.ContainerCreateOptions;
  readonly platform: string | undefined;
  readonly program: string;
  readonly stdin: boolean;
  /** Whether what runs in it may have become root. */
  readonly newPrivileges: boolean;
}

/** The container is undefined where none could be created. */
export interface StartedStep {
  readonly running: RunningCommand;
  readonly container: Docker.Container | undefined;
}

/** Nothing is started once it is cancelled; what an engine has begun to do by then is done first. */
export async function startStep(engine: Engine, step: Step, cancelled: AbortSignal): Promise<StartedStep> {
  const image = step.body.Image ?? "";
  // The engine's own start of it fails as a command may that ran.
  const { Entrypoint = [], Cmd = [], Env = [] } = step.body;
  if ([Entrypoint, Cmd, Env].flat().some((text) => Buffer.byteLength(text) >= limits.argumentBytes))
    return {
      running: notStarted({
        stage: "spawn",
        code: null,
        message: `${step.program}: an argument or a variable is longer than ${limits.argumentBytes} bytes`,
      }),
      container: undefined,
    };
  let container: Docker.Container;
  try {
    container = await create(engine, step.body, step.platform);
  } catch (error) {
    return { running: notStarted(refusalOf(error, image)), container: undefined };
  }
  const opened: { destroy(): void }[] = [];
  try {
    cancelled.throwIfAborted();
    // Attached before it starts, and listened to at once: the first bytes would be lost, or the end.
    const source = await attach(engine, container.id, "outputs", cancelled);
    const outputs = demux(source);
    opened.push(source);
    const stdin = step.stdin ? stdinOf(await attach(engine, container.id, "stdin", cancelled)) : undefined;
    if (stdin) opened.push(stdin);
    cancelled.throwIfAborted();
    await container.start();
    return { running: follow(engine, container, step, source, outputs, stdin), container };
  } catch (error) {
    for (const one of opened) one.destroy();
    return { running: cancelled.aborted ? neverWas() : notStarted(refusalOf(error, image)), container };
  }
}

/** It was cancelled before it was started. */
export const neverWas = (): RunningCommand =>
  notStarted({ stage: "spawn", code: null, message: "it was cancelled before it was started" });

function follow(
  engine: Engine,
  container: Docker.Container,
  step: Step,
  source: Duplex,
  outputs: ReturnType<typeof demux>,
  stdin: Writable | undefined,
): RunningCommand {
  /** Signals that were sent from here: only these are told as signals. */
  const sent = new Set<SignalName>();
  let over = false;
  let refusal: Refusal | undefined;

  const exited = endOf(engine, container.id).finally(() => {
    over = true;
  });
  const killHard = (): Promise<void> => container.kill({ signal: "SIGKILL" }).catch(() => {});
  /** KILL did not help, or the engine does not answer any more. */
  const given = Promise.withResolvers<State>();
  let givenUp = false;
  function giveUp(): void {
    givenUp = true;
    given.resolve({ lost: "the container engine did not end the container" });
    source.destroy();
  }
  const state = outputs.ended.then(async (broke): Promise<State> => {
    const how: State = broke === undefined || givenUp ? await Promise.race([exited, given.promise]) : { lost: broke };
    // Without its outputs, or its end, nobody knows what it does.
    if ("lost" in how && !givenUp) await within(Promise.all([killHard(), exited]), limits.killedWithinMs);
    return how;
  });
  const stderr = outputs.stderr.pipe(
    withoutInitFailure(
      step.program,
      state.then((known) => ("code" in known ? known.code : undefined)),
      (found) => {
        refusal = found;
      },
    ),
  );

  const closed = [outputs.stdout, stderr].map((stream) => new Promise((resolve) => stream.once("close", resolve)));
  const settled = settle().then((how) => {
    stdin?.destroy();
    return how;
  });

  async function settle(): Promise<Settled> {
    const how = await state;
    await Promise.all(closed);
    if (refusal) return { kind: "failed", heldOpen: false, ...refusal };
    if ("lost" in how) return { kind: "lost", heldOpen: false, message: how.lost };
    const outOfMemory =
      how.outOfMemory || (mayBeOutOfMemory(how.code) && (await outOfMemoryLater(engine, container.id)));
    return { heldOpen: false, ...endedWith(how.code, outOfMemory, sent) };
  }

  /** Killed, and not from here. */
  const mayBeOutOfMemory = (code: number): boolean =>
    !engine.isPodman && Boolean(step.body.HostConfig?.Memory) && signalOf(code - 128) === "KILL" && !sent.has("KILL");

  const waiting = new Set<SignalName>();
  let delivering: Promise<void> | undefined;
  async function deliver(): Promise<void> {
    // One look after the present turn: a caller that sends a thousand at once gets one of each, as from the kernel.
    await Promise.resolve();
    while (waiting.size > 0 && !over) {
      const names = [...waiting];
      waiting.clear();
      if (names.includes("KILL")) await within(killHard(), limits.killedWithinMs);
      else await signalAll(engine, container, names, step.newPrivileges);
    }
    delivering = undefined;
  }
  function signal(name: SignalName): Promise<void> {
    if (over) return Promise.resolve();
    sent.add(name);
    waiting.add(name);
    return (delivering ??= deliver());
  }

  async function end(graceMs: number): Promise<Ending> {
    if (over) return NOTHING_ENDED;
    const look = (): Promise<Process[] | undefined> => within(processesIn(engine, container), limits.engineLookMs);
    const before = await look();
    void signal("TERM");
    const ended = await within(exited, graceMs);
    if (ended) return endingAfter(ended, before, [], []);
    const left = await look();
    sent.add("KILL");
    void killHard();
    const killed = await within(exited, limits.killedWithinMs);
    if (killed) return endingAfter(killed, before, left, []);
    const survivors = await look();
    giveUp();
    return endingAfter(undefined, before, left, survivors);
  }
  let killing: Promise<Ending> | undefined;

  return {
    stdin,
    stdout: outputs.stdout,
    stderr,
    settled,
    signal: (name) => void signal(name),
    kill: (graceMs) => (killing ??= end(graceMs).catch(() => NOTHING_ENDED)),
    killNow() {
      sent.add("KILL");
      if (!over) void killHard();
    },
  };
}

/** The engine tells 128+n only, which is also a code that a command may choose. */
export function endedWith(code: number, outOfMemory: boolean, sent: ReadonlySet<SignalName>): Ended {
  if (!Number.isInteger(code) || code < 0 || code > 255)
    return { kind: "lost", message: `the container engine told no exit code (${code})` };
  const signal = signalOf(code - 128);
  if (outOfMemory && code !== 0)
    return signal === "KILL"
      ? { kind: "out-of-memory", code: null, signal }
      : { kind: "out-of-memory", code, signal: null };
  if (signal === undefined) return { kind: "exited", code };
  return sent.has(signal) ? { kind: "signaled", signal } : { kind: "exited", code, ambiguous: true };
}

/** What is not known is never told as ended: without a look at the grace's end nobody knows by what. */
export function endingAfter(
  state: State | undefined,
  ...[before, left, survivors]: (readonly Process[] | undefined)[]
): Ending {
  if ((state && "lost" in state) || !survivors)
    return { ...NOTHING_ENDED, unknown: "the engine went away; the container may still run" };
  if (before && left) return ending(before, left, survivors);
  return { ...ending([], left ?? [], survivors), unknown: "the engine did not tell all that ran" };
}

/** When the command itself is gone, the engine ends the rest: what was there at the grace's end was ended by KILL. */
export function ending(before: readonly Process[], left: readonly Process[], survivors: readonly Process[]): Ending {
  const isIn = (list: readonly Process[], { pid }: Process): boolean => list.some((one) => one.pid === pid);
  const ended = [
    ...before.filter((one) => !isIn(left, one)).map((one) => ({ ...one, by: "TERM" as const })),
    ...left.filter((one) => !isIn(survivors, one)).map((one) => ({ ...one, by: "KILL" as const })),
  ];
  return endingOf(ended, [...survivors]);
}
