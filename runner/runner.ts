// A runner's front, without its network: the operations it serves, and its grants. It starts nothing itself: that is
// the keeper's. `runner start` serves it to peers; a coordinator embeds one and calls it in memory.
import { setTimeout as delay } from "node:timers/promises";
import type { Caller, Handlers, RawCarriage } from "../protocol/call.ts";
import type { ByteChannel } from "../protocol/channel.ts";
import { asSortieError, SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { callJson, callRaw, subscribe } from "../protocol/make-call.ts";
import type { JobRunInput, JournalLimits, Labels, RunnerInfo } from "../protocol/messages.ts";
import { createNotice } from "../protocol/notice.ts";
import { relay } from "../protocol/relay.ts";
import { version } from "../protocol/version.ts";
import type { Admission } from "./admission.ts";
import { decisionOf } from "./audit.ts";
import { jobLogs } from "./job-logs.ts";
import type { KeeperLink } from "./keeper/keeper-link.ts";

export interface RunnerOptions {
  readonly name: string;
  readonly labels: Labels;
  /** Labels that jobs must ask for. Coordinators keep the others away. */
  readonly mandatory?: readonly string[];
  readonly slots: number;
  readonly admission: Admission;
  readonly keeper: KeeperLink;
  /** Gives who signed a job, or throws SIGNATURE; absent where jobs need not be signed. */
  readonly signedBy?: (asked: JobRunInput) => string;
  /** How long a job goes on without its owner, where the job does not say; null: for ever. */
  readonly leaseMs: number | null;
  readonly journals: JournalLimits;
  /** Takes one job, and is drained then. */
  readonly once?: boolean;
  /** One line about what happened to a job; nothing of the job's own output. */
  readonly log?: (line: string) => void;
}

export interface Runner {
  readonly handlers: Handlers;
  info(): RunnerInfo;
  /** Takes no new jobs from now on. */
  drain(): void;
  /** Resolves once it is drained, no job runs, and the owners that are there have their exits. */
  readonly idle: Promise<void>;
  /** Cancels the jobs of the peer, with their grace. */
  revoke(peer: string): Promise<void>;
  /** Cancels what runs, with its grace, and resolves when the owners that listen know. */
  cancelAll(): Promise<void>;
  /** Ends every session, and leaves the keeper. */
  close(): Promise<void>;
}

/** A job that is decided about, or on its way into the keeper. */
interface Starting {
  readonly owner: string;
  readonly isNew: boolean;
  isRevoked: boolean;
  /** Does not wait for the decision any more. */
  refuse(error: SortieError): void;
}

const ownerOf = ({ owner, peer }: Caller): string => owner ?? peer;

/** Rejects where the keeper cannot be reached. */
export async function createRunner(options: RunnerOptions): Promise<Runner> {
  const { name, labels, slots, admission, keeper, log = () => {} } = options;
  let running = 0;
  let taken = 0;
  /** Of /job/run, under way. */
  let runs = 0;
  const starting = new Set<Starting>();
  let draining = false;
  /** Somebody asked for it, and it stays. */
  let drained = false;
  let closed = false;
  let news: ByteChannel | undefined;
  /** By what steers a job, and by what only reads it: nobody waits for readers. */
  const sessions = new Set<RawCarriage>();
  const readers = new Set<RawCarriage>();
  const watchers = new Set<() => void>();
  const idle = Promise.withResolvers<void>();
  let lastWords: NodeJS.Timeout | undefined;

  const mandatory = options.mandatory?.length ? { mandatory: [...options.mandatory] } : {};
  const info = (): RunnerInfo => ({
    name,
    version,
    labels,
    ...mandatory,
    slots,
    busy: Math.min(slots, taken),
    draining,
  });
  const changed = (): void => {
    for (const watcher of watchers) watcher();
    if (!draining || running > 0) return;
    // Owners are told the exit of what ended; whoever does not read is not waited for.
    if (runs + sessions.size === 0) return idle.resolve();
    lastWords ??= setTimeout(() => {
      lastWords = undefined;
      if (running === 0) idle.resolve();
    }, limits.drainMaximumMs);
    lastWords.unref();
  };

  /** Follows the keeper's count for as long as this front lives; a keeper that dies is followed by another. */
  async function watchKeeper(first: () => void): Promise<void> {
    let pause: number = limits.reconnectFirstMs;
    let told = "";
    while (!closed) {
      try {
        news = await keeper.open();
        for await (const state of subscribe(news, "/keeper/watch", { limits: options.journals })) {
          ({ running, taken } = state);
          pause = limits.reconnectFirstMs;
          told = "";
          changed();
          first();
          if (closed) return;
        }
      } catch (error) {
        if (closed) return;
        // The next one tells what is left; until then it may be all.
        const { message } = asSortieError(error);
        if (message !== told) log(`the keeper: ${message}`);
        told = message;
        await delay(pause);
        pause = Math.min(pause * 2, limits.reconnectMostMs);
      }
    }
  }

  async function serve(accepted: Promise<RawCarriage>, to: RawCarriage, among = sessions): Promise<void> {
    let carriage: RawCarriage;
    try {
      carriage = await accepted;
    } catch (error) {
      to.abort(error as Error);
      throw error;
    }
    among.add(carriage);
    try {
      await relay(carriage, to);
    } finally {
      among.delete(carriage);
      changed();
    }
  }

  /** What a session ended with, for the log: readers and owners come and go, only the rest is news. */
  const tell = (caller: Caller, what: string, error: unknown): void => {
    const { code, message } = asSortieError(error);
    if (code !== "CONNECTION_LOST") log(`${what} of ${caller.name}: ${message}`);
  };

  const cancel = async (owner: string | null): Promise<void> => {
    await callJson(await keeper.open(), "/keeper/cancel", { owner });
  };
  const noNewJobs = (): SortieError => new SortieError("RUNNER_DRAINING", `The runner ${name} takes no new jobs.`);

  const handlers: Handlers = {
    "/runner/info": async () => info(),
    async *"/runner/watch"(_input, _caller, left) {
      const notice = createNotice();
      watchers.add(notice.tell);
      left.addEventListener("abort", notice.tell);
      try {
        for (; !left.aborted; await notice.next()) yield info();
      } finally {
        watchers.delete(notice.tell);
        left.removeEventListener("abort", notice.tell);
      }
    },
    async "/job/run"(asked, caller, accept, left) {
      const { request } = asked;
      if (request.stdin && request.steps.length > 1)
        throw new SortieError("USAGE", "Only a job of one step may have stdin.");
      // A command is of a job that was taken before.
      const isNew = request.within === undefined;
      const refuseWhileDraining = (): void => {
        if (draining && isNew) throw noNewJobs();
      };
      refuseWhileDraining();
      const signer = options.signedBy?.(asked);
      const refused = Promise.withResolvers<never>();
      refused.promise.catch(() => {});
      const start: Starting = { owner: ownerOf(caller), isNew, isRevoked: false, refuse: refused.reject };
      starting.add(start);
      // It may have begun the job anew elsewhere by the time that somebody allows this one.
      const onLeft = (): void => start.refuse(new SortieError("CONNECTION_LOST", "The caller has left."));
      left.addEventListener("abort", onLeft, { once: true });
      let state: "asked" | "admitted" | "taken" = "asked";
      runs++;
      try {
        // A person may be asked.
        const admitted = await Promise.race([admission.admit(asked, caller, left), refused.promise]);
        refuseWhileDraining();
        state = "admitted";
        if (options.once && isNew) draining = true;
        const { request, confine, rule, wants } = admitted;
        const decision = decisionOf(caller, rule, wants, signer, asked);
        const input = { owner: ownerOf(caller), slots, leaseMs: options.leaseMs, decision, confine, ...asked, request };
        const to = await callRaw(await keeper.open(), "/keeper/run", input);
        state = "taken";
        starting.delete(start);
        // It was not among the jobs that were cancelled then.
        if (start.isRevoked) await cancel(start.owner);
        await serve(accept(to.output), to);
      } catch (error) {
        // It takes one job: one that the keeper refused was none.
        if (options.once && isNew && state === "admitted" && !drained) draining = false;
        // Of what was not let in the admission has told.
        if (state !== "asked") tell(caller, request.job, error);
        throw error;
      } finally {
        left.removeEventListener("abort", onLeft);
        starting.delete(start);
        runs--;
        changed();
      }
    },
    async "/job/attach"(input, caller, accept) {
      try {
        const to = await callRaw(await keeper.open(), "/keeper/attach", { owner: ownerOf(caller), ...input });
        await serve(accept(to.output), to, input.control ? sessions : readers);
      } catch (error) {
        tell(caller, input.attemptId, error);
        throw error;
      }
    },
    "/job/list": async (_input, caller) => callJson(await keeper.open(), "/keeper/list", { owner: ownerOf(caller) }),
    "/job/logs": (input, caller, left) => jobLogs(keeper, ownerOf(caller), input, left),
  };

  await new Promise<void>((resolve, reject) => {
    watchKeeper(resolve).catch(reject);
  });

  function drain(): void {
    drained = true;
    draining = true;
    for (const { isNew, refuse } of starting) if (isNew) refuse(noNewJobs());
    changed();
  }

  return {
    handlers,
    info,
    drain,
    idle: idle.promise,
    async revoke(peer) {
      for (const start of starting) if (start.owner === peer) start.isRevoked = true;
      await cancel(peer);
    },
    async cancelAll() {
      drain();
      await cancel(null);
      await idle.promise;
    },
    async close() {
      closed = true;
      clearTimeout(lastWords);
      const stopped = new SortieError("CONNECTION_LOST", `The runner ${name} stopped.`);
      for (const carriage of [...sessions, ...readers]) carriage.abort(stopped);
      news?.abort(stopped);
      await keeper.close();
    },
  };
}
