// Calls a job's function with what it works with, and waits for what it has started. function-call.ts does it in the coordinator; in
// a sandboxed recipe's own process sandbox/child-function.ts does.
import { formatWithOptions } from "node:util";
import { SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { FunctionHost } from "./elsewhere.ts";
import { withFloating } from "./floating.ts";
import type { JobContext, JobFunction } from "./recipe/function-step.ts";
import { openShells, type Shell } from "./recipe/shell-function.ts";

/** Resolves with what the function gave, once all that it started is over. Rejects with what it failed with. */
export async function driveFunction(run: unknown, host: FunctionHost): Promise<unknown> {
  const lines = lineLog(host.store, host.over);
  const commands = openShells(host.starters, host.hide);
  const [$, ...others] = commands.shells as [Shell, ...Shell[]];
  const also = Object.fromEntries(host.also.map((name, index) => [name, others[index]]));
  const { context, ask, over, workspace } = host;
  const whole: JobContext<readonly unknown[], string> = {
    ...context,
    $,
    also: also as Record<string, Shell>,
    log: lines.write,
    ask,
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
    host.late(error);
  };
  const toTheEnd = async (): Promise<unknown> => {
    const given = await (run as JobFunction<readonly unknown[], string>)(whole);
    await commands.settled();
    await lines.settled();
    return given;
  };
  try {
    return await Promise.race([floating.promise, withFloating(fail, toTheEnd)]).finally(() => {
      isOver = true;
    });
  } catch (error) {
    commands.stopReading();
    await lines.settled().catch(() => {});
    throw error;
  }
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
