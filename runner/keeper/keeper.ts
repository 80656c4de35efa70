// The keeper owns what must outlive a connection and the front: processes, their pipes, their journals. It answers the
// /keeper/… calls: in memory where a coordinator embeds its runner, else on a socket, from a process of its own
// (keeper-process.ts). What an earlier keeper left is taken over when it opens: see recover.ts.
import { join } from "node:path";
import type { Handlers } from "../../protocol/call.ts";
import { messageOf, SortieError } from "../../protocol/errors.ts";
import type { Exit } from "../../protocol/exit.ts";
import { privateFolder } from "../../protocol/home.ts";
import type { AttemptId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import type { InputOf, JobRequest, JobState } from "../../protocol/messages.ts";
import { createNotice } from "../../protocol/notice.ts";
import { type Redaction, redactionOfOthers } from "../../protocol/redact.ts";
import { version } from "../../protocol/version.ts";
import { allowedLine, endedLine } from "./audit/job-lines.ts";
import { attemptsSince } from "./audit/read.ts";
import { openAudit } from "./audit/writer.ts";
import type { Site } from "./backends/backend.ts";
import { openBackends } from "./backends/index.ts";
import { type DiskBudget, diskBudget } from "./disk-budget.ts";
import { type DrivenJob, startDrivenJob } from "./driven-job.ts";
import { type Job, type StepsJob, startJob } from "./job.ts";
import { jobStdin, StdinBudget } from "./job-stdin.ts";
import { Journal } from "./journal.ts";
import { type KeptJob, keptJob } from "./kept-job.ts";
import { findMarks, removeMark } from "./marks.ts";
import { ownerOf } from "./owner.ts";
import { killMarkedNow } from "./process-tree.ts";
import { reaper } from "./reaper.ts";
import { acknowledgeRecord, type JobRecord, removeRecord, writeRecord } from "./record.ts";
import { recover } from "./recover.ts";
import { offsetGone, Segments } from "./segments.ts";
import { serveSession } from "./session.ts";
import { siteOpener } from "./site-opener.ts";
import { removeWorkFolder } from "./work.ts";

/** Of the /keeper/… operations but the first two. Raised when they, or what stands in a journal's folder, change. */
export const KEEPER_PROTOCOL = 5;
/** A driven job, and where its commands run. */
interface Parent {
  readonly driven: DrivenJob;
  readonly site: Site;
}
type RunInput = InputOf<"/keeper/run">;
/** Attempt ids that were used, the oldest forgotten first: an attempt runs once. */
const REMEMBERED = 100_000;

export interface Keeper {
  readonly handlers: Handlers;
  readonly running: number;
  /** Whether a front is there. */
  readonly watched: boolean;
  /** Called whenever `running` or `watched` changed. */
  onChange(listener: () => void): void;
  /** Ends every session and job, and gives back what the keeper holds; journals stay. */
  close(): Promise<void>;
  /**
   * KILL to the processes of every job, now, without waiting. False where a keeper after this one has to end what is left
   * elsewhere, and finds it by this one's folder.
   */
  kill(): boolean;
}

export interface KeeperOptions {
  /** For this keeper alone: journals, working directories and pipes live there. */
  readonly folder: string;
  /** Where the audit is; a runner within a coordinator has none: it is that person's own machine. */
  readonly audit?: string | undefined;
  readonly log?: (line: string) => void;
  /** Told once /keeper/leave was answered. */
  readonly onLeave?: () => void;
}

/** Opens the keeper on its folder. What a keeper that died left running there is ended first, and its journals too. */
export async function openKeeper({
  folder,
  audit: auditFolder,
  log = () => {},
  onLeave = () => {},
}: KeeperOptions): Promise<Keeper> {
  const work = privateFolder(join(folder, "work"));
  const journals = privateFolder(join(folder, "journals"));
  const jobs = new Map<AttemptId, KeptJob>();
  const used = new Set<AttemptId>();
  const stdinBudget = new StdinBudget();
  const watchers = new Set<() => void>();
  const listeners: (() => void)[] = [];
  const over = new Set<Promise<void>>();
  let running = 0;
  /** Slots of those that run. */
  let taken = 0;
  let closing = false;
  /** By owner; nothing of what was built is kept here. */
  const building = new Map<string, Promise<void>>();
  const disk: DiskBudget = diskBudget(() => retain(disk.limits.all), log);
  const audit = auditFolder === undefined ? undefined : openAudit(auditFolder, log);
  audit?.record({ type: "keeper-started", pid: process.pid, version });
  const backend = openBackends({ folder, owner: ownerOf(folder), log });
  for (const { record, journal, acknowledged, at, lostAt, exit } of await recover({ journals, work, disk, backend })) {
    used.add(record.attemptId);
    jobs.set(record.attemptId, keptJob(record, journal, { acknowledged, endedAt: at, lostAt }));
    if (exit) audit?.record(endedLine(record, exit));
  }
  // Journals may be gone sooner than what a signature is good for.
  if (auditFolder !== undefined) for (const attemptId of usedAttempts(auditFolder, log)) used.add(attemptId);
  const reaping = reaper(work, backend, log);
  const sites = siteOpener(work, backend, disk);
  const retaining = setInterval(() => retain(disk.limits.all), limits.retainEveryMs);
  retaining.unref();

  function changed(): void {
    for (const watcher of watchers) watcher();
    for (const listener of listeners) listener();
  }

  /** Removes journals that are over: those kept long enough, and then the oldest until the rest fits. */
  function retain(most: number): void {
    const ended = [...jobs.values()]
      .filter((kept) => !kept.running && !kept.control && kept.readers === 0)
      .sort((a, b) => a.endedAt - b.endedAt);
    let left = ended.filter((kept) => kept.acknowledged).length;
    for (const kept of ended) {
      const age = Math.abs(Date.now() - kept.endedAt);
      const keptMs = kept.acknowledged ? disk.limits.keptMs : limits.journalUnclaimedMs;
      const tooMany = kept.acknowledged && (left > limits.journalsKept || disk.used >= most);
      if (age <= keptMs && !tooMany) continue;
      if (kept.acknowledged) left--;
      jobs.delete(kept.record.attemptId);
      kept.journal.remove();
      removeRecord(journals, kept.record.attemptId);
    }
    if (disk.used >= most) for (const kept of jobs.values()) if (kept.running) kept.journal.dropAcknowledged();
  }

  function writeDown(record: JobRecord): void {
    try {
      writeRecord(journals, record);
    } catch (error) {
      disk.failed(error);
      removeRecord(journals, record.attemptId);
      const { code } = error as NodeJS.ErrnoException;
      // Where it lies is none of a peer's business.
      throw new SortieError("KEEPER_FAILED", `The runner cannot record a job (${code ?? "a bug"}).`);
    }
  }

  /** The driven job that a command is to be within. */
  function parentOf(attemptId: AttemptId, owner: string): Parent {
    const { driven } = find(attemptId, owner);
    const site = driven?.site;
    if (!driven || !site) throw new SortieError("NOT_FOUND", `The attempt ${attemptId} takes no commands.`);
    if (driven.commands >= limits.commandsWithin)
      throw new SortieError("RUNNER_FULL", `${driven.commands} commands of the attempt ${attemptId} run already.`, {
        hint: "Let some of them end first.",
      });
    return { driven, site };
  }

  /** Gives the driven job that a command is to be within. */
  function check({ request, slots, owner }: RunInput): Parent | undefined {
    const { attemptId, within } = request;
    if (closing) throw new SortieError("RUNNER_DRAINING", "The keeper is leaving.");
    if (used.has(attemptId)) throw new SortieError("DUPLICATE", `The attempt ${attemptId} was started before.`);
    if (within !== undefined) return parentOf(within, owner);
    // A command is in its driven job's slots, also where a front that came later has fewer.
    checkSlots(request, slots);
    return undefined;
  }

  /** Of one owner one after the other: each takes memory before there is a slot that is taken by it. */
  function redactionFor(input: RunInput): Promise<Redaction | undefined> {
    const { owner } = input;
    const next = (building.get(owner) ?? Promise.resolve()).then(() => {
      check(input);
      return redactionOfOthers((input.request.secrets ?? []).map(({ value }) => value));
    });
    const settled = next
      .then(
        () => {},
        () => {},
      )
      .finally(() => {
        if (building.get(owner) === settled) building.delete(owner);
      });
    building.set(owner, settled);
    return next;
  }

  function start(record: JobRecord, input: RunInput, redaction: Redaction | undefined): KeptJob {
    const { request } = input;
    const { attemptId } = request;
    const parent = check(input);
    // Without it on disk a keeper after this one would not know the job: nothing is started then.
    writeDown(record);
    used.add(attemptId);
    if (used.size > REMEMBERED) used.delete(used.values().next().value as AttemptId);
    const journal = new Journal(new Segments(journals, attemptId, disk.onDisk), disk);
    const kept = parent ? startWithin(record, input, journal, parent) : startOwn(record, input, journal, redaction);
    jobs.set(attemptId, kept);
    return kept;
  }

  function checkSlots({ slots: wanted = 1 }: JobRequest, slots: number): void {
    if (wanted > slots)
      throw new SortieError("NO_RUNNER", `The job takes ${wanted} slots, and the runner has ${slots}.`);
    if (taken + wanted > slots)
      throw new SortieError("RUNNER_FULL", `${taken} of the ${slots} slots of the runner are taken.`);
  }

  function startOwn(record: JobRecord, input: RunInput, journal: Journal, redaction: Redaction | undefined): KeptJob {
    const { request, confine, decision } = input;
    const { attemptId, slots: wanted = 1 } = request;
    const count = (by: 1 | -1): void => {
      running += by;
      taken += by * wanted;
      changed();
    };
    const open = sites.own(request, redaction, confine);
    const ended = (exit: Exit): void => {
      count(-1);
      audit?.record(endedLine(record, exit, decision.peer));
    };
    count(1);
    let kept: KeptJob;
    if (request.driven) {
      const driven = startDrivenJob(request, journal, open, ended, redaction);
      kept = keptJob(record, journal, { job: driven, driven });
    } else kept = keptSteps(record, journal, request, startJob(request, journal, open, ended, redaction));
    whenOver(kept, async (job) => {
      // What cannot be reached now keeps its mark.
      if (!(await job.close())) return reaping.add(attemptId);
      removeMark(work, attemptId);
      // A directory that cannot be removed now is removed at the next start.
      await removeWorkFolder(join(work, attemptId)).catch(() => {});
    });
    return kept;
  }

  function startWithin(record: JobRecord, input: RunInput, journal: Journal, { driven, site }: Parent): KeptJob {
    const { request } = input;
    const { peer } = input.decision;
    const job = startJob(
      request,
      journal,
      sites.within(site, request),
      (exit) => audit?.record(endedLine(record, exit, peer)),
      driven.redaction,
    );
    driven.add(job);
    const kept = keptSteps(record, journal, request, job);
    whenOver(kept, async () => removeMark(work, request.attemptId));
    return kept;
  }

  const keptSteps = (record: JobRecord, journal: Journal, request: JobRequest, job: StepsJob): KeptJob =>
    keptJob(record, journal, { job, ...(request.stdin ? { stdin: jobStdin(job, record.owner, stdinBudget) } : {}) });

  function whenOver(kept: KeptJob, cleanUp: (job: Job) => Promise<void>): void {
    const { job } = kept;
    if (!job) return;
    const cleaned = job.over
      .then(() => {
        kept.ended();
        return cleanUp(job);
      })
      // With it go the request, and the secrets that came in it.
      .finally(() => kept.release());
    const told = cleaned.catch((error: unknown) =>
      log(`${kept.record.attemptId} was not cleaned up: ${String(error)}`),
    );
    over.add(told);
    void told.finally(() => over.delete(told));
  }

  /** Another peer's job looks like none. */
  function find(attemptId: AttemptId, owner: string): KeptJob {
    const kept = jobs.get(attemptId);
    if (!kept || kept.record.owner !== owner)
      throw new SortieError("NOT_FOUND", `There is no attempt ${attemptId} here.`);
    return kept;
  }

  function acknowledged(kept: KeptJob): void {
    if (kept.acknowledged) return;
    kept.acknowledged = true;
    const { attemptId } = kept.record;
    void kept.journal.settled().then((isOnDisk) => {
      if (isOnDisk) return acknowledgeRecord(journals, attemptId);
      // A full disk has only a part of it, and the owner has all: a reader would look for the rest in vain.
      jobs.delete(attemptId);
      kept.journal.remove();
      removeRecord(journals, attemptId);
    });
    if (jobs.size > 2 * limits.journalsKept) retain(disk.limits.all);
  }

  async function cancel(fitting: (kept: KeptJob) => boolean): Promise<void> {
    const cancelled = [...jobs.values()].filter((kept) => kept.running && fitting(kept));
    for (const kept of cancelled) kept.job?.cancel({ reason: "cancelled", by: "runner" });
    await Promise.all(cancelled.map((kept) => kept.job?.over));
  }

  const handlers: Handlers = {
    "/keeper/info": async () => ({ protocol: KEEPER_PROTOCOL, version, pid: process.pid, running }),
    async "/keeper/leave"() {
      if (running > 0) throw new SortieError("KEEPER_VERSION", `${running} jobs still run.`);
      closing = true;
      setImmediate(onLeave);
      return {};
    },
    async *"/keeper/watch"({ limits: wanted }, _caller, left) {
      disk.limits = wanted;
      const notice = createNotice();
      let told: string | undefined;
      watchers.add(notice.tell);
      left.addEventListener("abort", notice.tell);
      changed();
      try {
        for (; !left.aborted && !closing; await notice.next()) {
          const now = `${running} ${taken}`;
          if (told === now) continue;
          told = now;
          yield { running, taken };
        }
      } finally {
        watchers.delete(notice.tell);
        left.removeEventListener("abort", notice.tell);
        changed();
      }
    },
    async "/keeper/run"(input, _caller, accept) {
      const { request, owner, window } = input;
      const { attemptId, run, job, attempt, within } = request;
      // A command lives by its driven job's session: it goes on without one of its own.
      const leaseMs = within ? null : request.leaseMs === undefined ? input.leaseMs : request.leaseMs;
      const common = { attemptId, run, job, attempt, owner, startedAt: Date.now(), leaseMs };
      const record: JobRecord = within ? { ...common, within } : common;
      if (audit) {
        check(input);
        // What is not on record is not run. What has changed meanwhile is looked at again.
        await audit.write([allowedLine(record, input.decision)]);
      }
      const redaction = request.secrets?.length ? await redactionFor(input) : undefined;
      const kept = start(record, input, redaction);
      const session = kept.begin(input.holder);
      try {
        const carriage = await accept({ attemptId });
        await serveSession(kept, session, carriage, { offset: 0, window, acknowledged });
      } finally {
        session.end();
      }
    },
    async "/keeper/audit"({ events }) {
      await audit?.write(events);
      return {};
    },
    async "/keeper/attach"({ attemptId, owner, offset, control, window, holder }, _caller, accept) {
      const kept = find(attemptId, owner);
      const { start: first, end } = kept.journal;
      const { lostAt = end } = kept;
      if (offset > lostAt && lostAt < end) throw lostFromMemory(offset - lostAt);
      if (offset > end || (control && offset < first.offset)) throw offsetGone(offset, first.offset, end);
      if (!control && kept.readers >= limits.readersPerJob)
        throw new SortieError("RUNNER_FULL", `The job has ${kept.readers} readers already.`, {
          hint: "Let one of them end.",
        });
      const from = Math.max(offset, first.offset);
      const missing = from > offset ? { ...first.before } : { stdout: 0, stderr: 0 };
      const session = kept.begin(control ? holder : undefined);
      try {
        const carriage = await accept({ attemptId, offset: from, missing, end, stdin: kept.stdin?.taken ?? 0 });
        await serveSession(kept, session, carriage, {
          offset: from,
          window: control ? window : Math.min(window, limits.readerWindow),
          acknowledged,
        });
      } finally {
        session.end();
      }
    },
    async "/keeper/list"({ owner }) {
      const own = [...jobs.values()].filter((kept) => kept.record.owner === owner).reverse();
      // A driven job may have had thousands of commands: those that are over push no job out of the list.
      const tooMany = Math.max(0, own.length - limits.listedJobs);
      const overWithin = own.filter(({ record, running }) => record.within !== undefined && !running);
      const leftOut = new Set(overWithin.slice(overWithin.length - Math.min(tooMany, overWithin.length)));
      const listed = own.filter((kept) => !leftOut.has(kept)).slice(0, limits.listedJobs);
      return { jobs: listed.map(stateOf) };
    },
    async "/keeper/place"({ owner, attemptId }) {
      const { driven } = find(attemptId, owner);
      if (driven?.directory === undefined)
        throw new SortieError("NOT_FOUND", `The attempt ${attemptId} takes no commands.`);
      return { place: driven.place, directory: driven.directory, fresh: driven.fresh };
    },
    async "/keeper/cancel"({ owner }) {
      await cancel((kept) => owner === null || kept.record.owner === owner);
      return {};
    },
  };

  return {
    handlers,
    get running() {
      return running;
    },
    get watched() {
      return watchers.size > 0;
    },
    onChange: (listener) => void listeners.push(listener),
    async close() {
      closing = true;
      clearInterval(retaining);
      await cancel(() => true);
      for (const kept of jobs.values()) kept.close(new SortieError("CONNECTION_LOST", "The runner stopped."));
      changed();
      await Promise.all([...over]);
      await Promise.all([...jobs.values()].map((kept) => kept.journal.settled()));
      await audit?.close();
      await reaping.close();
      await backend.close();
    },
    kill() {
      // Groups first: a process that cleared its environment is found by nothing else.
      for (const { job } of jobs.values()) job?.kill();
      killMarkedNow(new Set(jobs.keys()));
      backend.removeSecrets();
      return [...findMarks(work).values()].every(backend.isLocal);
    },
  };
}

/** Attempts that a signed job may still be replayed for. */
function usedAttempts(audit: string, log: (line: string) => void): AttemptId[] {
  try {
    return attemptsSince(audit, Date.now() - 2 * limits.signatureMs);
  } catch (error) {
    log(`the audit cannot be read: ${messageOf(error)}`);
    return [];
  }
}

const lostFromMemory = (bytes: number): SortieError =>
  new SortieError("OFFSET_GONE", `The job was lost with its keeper, and with it ${bytes} bytes of what it had sent.`, {
    hint: "They were in its memory alone, while its disk was full. What came of them stands.",
  });

const stateOf = (kept: KeptJob): JobState => {
  const { owner: _, leaseMs: __, ...told } = kept.record;
  const { running, acknowledged, journal } = kept;
  return { ...told, running, end: journal.end, attached: kept.control !== undefined, acknowledged };
};
