// Driven jobs and commands within them, asked for as a coordinator asks, for the tests of runner/.
import { encodeControl } from "../../protocol/chunk.ts";
import type { CallerControl, JobRequest } from "../../protocol/messages.ts";
import type { Runner } from "../../runner/runner.ts";
import { finish, type Read, request, startJob, type Who } from "./calls.ts";

type Call = Awaited<ReturnType<typeof startJob>>;

export interface Driven {
  readonly wanted: JobRequest;
  readonly call: Call;
  readonly cwd: string;
  readonly end: Promise<Read>;
  send(message: CallerControl): Promise<void>;
  /** The request of a command within. */
  command(script: string, more?: Partial<JobRequest>): JobRequest;
  start(script: string, more?: Partial<JobRequest>): Promise<Call>;
  run(script: string, more?: Partial<JobRequest>): Promise<Read>;
  /** Finishes it, and gives its end. */
  finish(code?: number): Promise<Read>;
}

export const drivenRequest = (more: Partial<JobRequest> = {}): JobRequest =>
  request("", { steps: [], driven: true, ...more });

export const within = (driven: JobRequest, script: string, more: Partial<JobRequest> = {}): JobRequest =>
  request(script, { run: driven.run, job: driven.job, within: driven.attemptId, ...more });

/** Resolves once it is ready for commands. Rejects where it ends before. */
export async function drive(runner: Runner, more: Partial<JobRequest> = {}, who: Who = {}): Promise<Driven> {
  const wanted = drivenRequest(more);
  const call = await startJob(runner, wanted, who);
  const ready = Promise.withResolvers<string>();
  const end = finish(call, 0, (control) => {
    if (control.type === "ready") ready.resolve(control.cwd);
  });
  end.then(({ exit }) => ready.reject(new Error(`it ended: ${JSON.stringify(exit)}`)), ready.reject);
  const cwd = await ready.promise;
  const send = (message: CallerControl): Promise<void> => call.write(encodeControl(message));
  const command: Driven["command"] = (script, options) => within(wanted, script, options);
  const start: Driven["start"] = (script, options) => startJob(runner, command(script, options), who);
  return {
    wanted,
    call,
    cwd,
    end,
    send,
    command,
    start,
    run: async (script, options) => finish(await start(script, options)),
    async finish(code = 0) {
      await send({ type: "finish", code });
      return end;
    },
  };
}
