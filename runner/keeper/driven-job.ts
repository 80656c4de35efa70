// A driven job in the keeper: it opens its site and runs nothing itself. Its owner starts commands within, each with a
// journal of its own, and says when it is finished. None of them outlives it. keeper.ts starts it and adds its commands.
import type { Exit } from "../../protocol/exit.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { type Place, placeOf } from "../../protocol/place.ts";
import type { Redaction } from "../../protocol/redact.ts";
import { type OwnPart, Refused, type Settled, type Site } from "./backends/backend.ts";
import type { Job, JobSite, OpenSite } from "./job.ts";
import { type Cause, exitOf, jobEnd } from "./job-end.ts";
import type { Journal } from "./journal.ts";
import { noteTaker } from "./notes.ts";

export interface DrivenJob extends Job {
  /** While it takes commands: from `ready` until it is about to end. */
  readonly site: Site | undefined;
  readonly place: Place;
  /** Where its commands run that name none; undefined before it takes any. */
  readonly directory: string | undefined;
  /** It named no directory, and has one of its own. */
  readonly fresh: boolean;
  /** Commands within that are not over. */
  readonly commands: number;
  add(command: Job): void;
  /** Of its secrets, which all its commands have. */
  readonly redaction: Redaction | undefined;
  /** Ends it with this code, once its commands are over; those that still run are ended first. The first code counts. */
  finish(code: number): void;
}

/** `ended` is called when the exit is about to be written. */
export function startDrivenJob(
  request: JobRequest,
  journal: Journal,
  open: OpenSite,
  ended: (exit: Exit) => void,
  redaction: Redaction | undefined,
): DrivenJob {
  const bytes = { stdout: 0, stderr: 0 };
  const end = jobEnd(journal, bytes, ended, redaction);
  const commands = new Set<Job>();
  const opening = new AbortController();
  const ending = Promise.withResolvers<void>();
  let opened: Site | undefined;
  let directory: string | undefined;
  let ready = false;
  let finishedWith: number | undefined;

  function stop(cause: Cause, graceMs: number): void {
    ready = false;
    opening.abort();
    for (const command of commands) command.cancel(cause, graceMs);
    ending.resolve();
  }

  function cancel(cause: Cause, graceMs: number = request.graceMs): void {
    if (finishedWith === undefined && end.begin(cause)) stop(cause, graceMs);
  }

  async function takeCommands(): Promise<Settled | undefined> {
    try {
      opened = await open(noteTaker(end.control, redaction), opening.signal);
      directory = await opened.enter(opening.signal);
      ready = !opening.signal.aborted;
      if (ready) end.control({ type: "ready", at: Date.now(), cwd: directory });
      await ending.promise;
      return undefined;
    } catch (error) {
      if (opening.signal.aborted) return undefined;
      if (error instanceof Refused) return { kind: "failed", heldOpen: false, ...error.refusal };
      throw error;
    }
  }

  async function run(): Promise<void> {
    end.control({ type: "started", at: Date.now(), attemptId: request.attemptId });
    const { timeoutMs } = request;
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => cancel({ reason: "timeout", timeoutMs }), timeoutMs);
    let settled: Settled | undefined;
    try {
      settled = await takeCommands();
    } finally {
      clearTimeout(timer);
    }
    await Promise.all([...commands].map((command) => command.over));
    await opened?.end();
    if (finishedWith !== undefined) settled = { kind: "exited", code: finishedWith, heldOpen: false };
    end.write({ ...exitOf(settled, end.cause, undefined, bytes, undefined), hash: journal.tally.hash() });
  }

  const over = end.after(run());
  return {
    get running() {
      return end.running;
    },
    over,
    redaction,
    get site() {
      return ready ? opened : undefined;
    },
    place: placeOf(request),
    fresh: request.cwd === undefined,
    get directory() {
      return directory;
    },
    get commands() {
      return commands.size;
    },
    add(command) {
      commands.add(command);
      void command.over.then(() => commands.delete(command));
    },
    finish(code) {
      if (finishedWith !== undefined || end.cause || !end.running) return;
      finishedWith = code;
      stop({ reason: "cancelled", by: "job" }, request.graceMs);
    },
    signal(name) {
      for (const command of commands) command.signal(name);
    },
    cancel,
    kill() {
      for (const command of commands) command.kill();
    },
    close: async () => opened?.close() ?? true,
  };
}

/** The driven job's site as one of its commands has it, which neither opens nor removes it. */
export const siteWithin = (site: Site, own: OwnPart): JobSite => ({
  start: (command, cancelled) => site.start({ ...command, own }, cancelled),
  end: async () => {},
  close: async () => true,
});
