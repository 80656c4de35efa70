// Calls the function of a job once its places are ready, and waits for what it has started. drive.ts does it for each attempt.
import { formatWithOptions } from "node:util";
import { SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { oneLine } from "../protocol/text.ts";
import type { DriveOptions } from "./drive-options.ts";
import type { DrivenPlace } from "./driven-place.ts";
import { withFloating } from "./floating.ts";
import { describeFailure } from "./function-failure.ts";
import type { JobLog } from "./job-log.ts";
import type { JobContext, JobFunction } from "./recipe/function-step.ts";
import { openShells, type Shell } from "./recipe/shell-function.ts";
import { secretHider } from "./secrets.ts";

/** What the function came to. */
export type Returned = { readonly given: unknown } | { readonly error: unknown };

export interface FunctionCall {
  /** Never rejects. */
  readonly returned: Promise<Returned>;
  /** Whether it was called: it is not where a place never became ready, or the job was over before. */
  readonly called: boolean;
}

/** A timer keeps the process while the function waits for something that does not. */
const LONG_MS = 2 ** 30;

/** `over` is aborted once the job is. */
export function callFunction(
  { recipe, job, context, emit, questions }: DriveOptions,
  places: readonly DrivenPlace[],
  log: JobLog,
  over: AbortSignal,
): FunctionCall {
  let called = false;
  const lines = lineLog(async (bytes) => {
    const at = Date.now();
    await log.output("stdout", bytes, at);
    await emit({ type: "job-output", at, job: job.name, stream: "stdout", bytes });
  }, over);

  async function call(): Promise<Returned> {
    const [workspace = ""] = await Promise.all(places.map((place) => place.ready));
    if (over.aborted) return { error: over.reason };
    const commands = openShells(
      places.map(({ starter }) => starter),
      secretHider(job, process.env),
    );
    const [$, ...others] = commands.shells as [Shell, ...Shell[]];
    const also = Object.fromEntries((job.also ?? []).map(({ name }, index) => [name, others[index]]));
    const asker = questions.asker(job.name, over, async (event) => {
      if (event.type === "job-asking" || event.by === "option")
        await log.control({ type: "note", at: event.at, from: "?", text: event.question });
      await emit(event);
    });
    const whole: JobContext<readonly unknown[], string> = {
      ...context,
      $,
      also: also as Record<string, Shell>,
      log: lines.write,
      ask: asker.ask,
      signal: over,
      workspace,
    };
    /** What the function leaves floating fails the job as long as that is not over; then the first of it is told. */
    const floating = Promise.withResolvers<never>();
    let isOver = false;
    let isTold = false;
    const fail = (error: unknown): void => {
      if (!isOver) return floating.reject(error);
      if (isTold) return;
      isTold = true;
      const text = oneLine(
        `a promise that its function did not await failed after it: ${describeFailure(error, recipe)}`,
      );
      // The run may be over, too.
      void (async () => emit({ type: "job-note", at: Date.now(), job: job.name, from: "$", text }))().catch(() => {});
    };
    const toTheEnd = async (): Promise<Returned> => {
      const given = await (job.drive as JobFunction<readonly unknown[], string>)(whole);
      await commands.settled();
      await lines.settled();
      return { given };
    };
    called = true;
    const staying = setInterval(() => {}, LONG_MS);
    try {
      return await Promise.race([floating.promise, withFloating(fail, toTheEnd)]).finally(() => {
        isOver = true;
      });
    } catch (error) {
      commands.stopReading();
      await lines.settled().catch(() => {});
      return { error };
    } finally {
      clearInterval(staying);
      await asker.close();
    }
  }

  return {
    returned: call(),
    get called() {
      return called;
    },
  };
}

/** Lines that a function logs, whether or not it awaits them: a failure is told at its end. */
function lineLog(store: (bytes: Uint8Array) => Promise<void>, over: AbortSignal) {
  const waiting = new Set<Promise<void>>();
  let bytesWaiting = 0;
  let failure: { readonly error: unknown } | undefined;

  async function stored(parts: readonly unknown[]): Promise<void> {
    const bytes = Buffer.from(`${formatWithOptions({ colors: false }, ...parts)}\n`);
    if (over.aborted) throw new SortieError("INTERRUPTED", "The job is over, and logs no more lines.");
    if (bytesWaiting + bytes.length > limits.functionLogBytes)
      throw new RangeError(`log() has ${bytesWaiting} bytes that are not stored yet: await it.`);
    bytesWaiting += bytes.length;
    try {
      await store(bytes);
    } finally {
      bytesWaiting -= bytes.length;
    }
  }

  return {
    write(...parts: readonly unknown[]): Promise<void> {
      const written = stored(parts);
      waiting.add(written);
      written.then(
        () => waiting.delete(written),
        (error: unknown) => {
          waiting.delete(written);
          failure ??= { error };
        },
      );
      return written;
    },
    /** Rejects with the first failure. */
    async settled(): Promise<void> {
      await Promise.allSettled(waiting);
      if (failure) throw failure.error;
    },
  };
}
