// Calls the function of a job once its places are ready, here or in the process of a sandboxed recipe. drive.ts does it for each
// attempt.
import { oneLine } from "../protocol/text.ts";
import { driveFunction } from "./drive-function.ts";
import type { DriveOptions } from "./drive-options.ts";
import type { DrivenPlace } from "./driven-place.ts";
import type { FunctionElsewhere, FunctionHost } from "./elsewhere.ts";
import { describeFailure } from "./function-failure.ts";
import type { JobLog } from "./job-log.ts";

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
  { recipe, job, context, emit, questions, secrets }: DriveOptions,
  places: readonly DrivenPlace[],
  log: JobLog,
  over: AbortSignal,
): FunctionCall {
  let called = false;

  async function call(): Promise<Returned> {
    const [workspace = ""] = await Promise.all(places.map((place) => place.ready));
    if (over.aborted) return { error: over.reason };
    const hide = (text: string): string => secrets.redaction?.text(text) ?? text;
    const asker = questions.asker(job.name, over, async (event) => {
      if (event.type === "job-asking" || event.by === "option")
        await log.control({ type: "note", at: event.at, from: "?", text: hide(event.question) });
      await emit(event);
    });
    const host: FunctionHost = {
      context,
      starters: places.map(({ starter }) => starter),
      also: (job.also ?? []).map(({ name }) => name),
      hide,
      async store(line) {
        const at = Date.now();
        const bytes = secrets.redaction ? Buffer.from(hide(Buffer.from(line).toString())) : line;
        await log.output("stdout", bytes, at);
        await emit({ type: "job-output", at, job: job.name, stream: "stdout", bytes });
      },
      ask: asker.ask,
      over,
      workspace,
      late(error) {
        const text = oneLine(
          // Before it is cut: a part of one would not be found.
          hide(`a promise that its function did not await failed after it: ${describeFailure(error, recipe)}`),
        );
        // The run may be over, too.
        void (async () => emit({ type: "job-note", at: Date.now(), job: job.name, from: "$", text }))().catch(() => {});
      },
    };
    called = true;
    const staying = setInterval(() => {}, LONG_MS);
    try {
      const { drive } = job;
      return { given: await (isElsewhere(drive) ? drive.drive(host) : driveFunction(drive, host)) };
    } catch (error) {
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

const isElsewhere = (drive: DriveOptions["job"]["drive"]): drive is FunctionElsewhere => typeof drive === "object";
