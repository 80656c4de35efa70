// A runner without its network: the operations it serves, its slots and its grants. `runner start` serves it to
// peers; a coordinator embeds one and calls it in memory.
import { rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Handlers, RawCarriage } from "../protocol/call.ts";
import { SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { Labels, RunnerInfo } from "../protocol/messages.ts";
import { version } from "../protocol/version.ts";
import { decide, type Grants } from "./grants.ts";
import { openKeeper } from "./keeper/local-keeper.ts";
import { describeEnd, serveJob } from "./session.ts";

export interface RunnerOptions {
  readonly name: string;
  readonly labels: Labels;
  readonly slots: number;
  readonly grants: Grants;
  /** For this runner alone: working directories and pipes live there. */
  readonly folder: string;
  /** Whether the folder goes away with the runner. */
  readonly temporary?: boolean;
  /** One line about what happened to a job; nothing of the job's own output. */
  readonly log?: (line: string) => void;
}

export interface Runner {
  readonly handlers: Handlers;
  info(): RunnerInfo;
  /** Takes no new jobs from now on. */
  drain(): void;
  /** Cancels what runs, with its grace, and resolves when nothing of it is left. */
  close(): Promise<void>;
  /** KILL to every process of every job, now, without waiting: for a process that is about to leave. */
  kill(): void;
}

/** A job's call under way. */
interface Session {
  readonly over: Promise<void>;
  readonly graceMs: number;
  readonly accepted: Promise<RawCarriage>;
}

export async function createRunner(options: RunnerOptions): Promise<Runner> {
  const keeper = await openKeeper(options.folder);
  const { name, labels, slots, grants } = options;
  let busy = 0;
  let draining = false;
  const sessions = new Set<Session>();
  const watchers = new Set<() => void>();

  const info = (): RunnerInfo => ({ name, version, labels, slots, busy, draining });
  const changed = (): void => {
    for (const watcher of watchers) watcher();
  };

  function takeSlot(): () => void {
    if (draining) throw new SortieError("RUNNER_DRAINING", `The runner ${name} takes no new jobs.`);
    if (busy >= slots) throw new SortieError("RUNNER_FULL", `All ${slots} slots of the runner ${name} are taken.`);
    busy++;
    changed();
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      busy--;
      changed();
    };
  }

  const handlers: Handlers = {
    "/runner/info": async () => info(),
    async *"/runner/watch"(_input, _caller, left) {
      let wake: (() => void) | undefined;
      let news = true;
      const watcher = (): void => {
        news = true;
        wake?.();
      };
      watchers.add(watcher);
      left.addEventListener("abort", watcher);
      try {
        while (!left.aborted) {
          if (news) {
            news = false;
            yield info();
          } else {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        }
      } finally {
        watchers.delete(watcher);
        left.removeEventListener("abort", watcher);
      }
    },
    async "/job/run"(input, caller, accept) {
      const { request } = input;
      if (request.stdin && request.steps.length > 1)
        throw new SortieError("USAGE", "Only a job of one step may have stdin.");
      const decision = decide(grants, request);
      if (!decision.allowed) {
        options.log?.(`refused ${request.job} for ${caller.name}: ${decision.message}`);
        throw new SortieError("DENIED", `${decision.message} (runner ${name})`, {
          hint: `Start the runner with ${decision.flag}, if its owner trusts this coordinator with it.`,
        });
      }
      const release = takeSlot();
      let session: Session | undefined;
      try {
        await keeper.start(request);
        const accepted = accept({ attemptId: request.attemptId });
        const over = accepted
          .catch(async (error: unknown) => {
            await keeper.forget(request.attemptId);
            throw error;
          })
          .then((carriage) => serveJob(keeper, input, carriage, release));
        session = { over, graceMs: request.graceMs, accepted };
        sessions.add(session);
        await over;
      } catch (error) {
        options.log?.(`${request.job} of ${caller.name}: ${describeEnd(error)}`);
        throw error;
      } finally {
        if (session) sessions.delete(session);
        release();
      }
    },
  };

  return {
    handlers,
    info,
    drain() {
      draining = true;
      changed();
    },
    async close() {
      draining = true;
      // Callers are told the exit of what is cancelled; one that does not read is not waited for.
      const over = (): Promise<unknown> => Promise.allSettled([...sessions].map((session) => session.over));
      const longestGrace = Math.max(0, ...[...sessions].map(({ graceMs }) => graceMs));
      await within(longestGrace + limits.drainMaximumMs, keeper.cancelAll().then(over));
      const stopped = new SortieError("CONNECTION_LOST", `The runner ${name} stopped.`);
      for (const { accepted } of sessions)
        accepted.then(
          (carriage) => carriage.abort(stopped),
          () => {},
        );
      await keeper.close();
      await within(limits.closeMs, over());
      if (options.temporary) rmSync(options.folder, { recursive: true, force: true });
    },
    kill() {
      keeper.kill();
      if (options.temporary) rmSync(options.folder, { recursive: true, force: true });
    },
  };
}

/** Waits for the promise, but no longer than so many milliseconds. */
async function within(milliseconds: number, promise: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const late = delay(milliseconds, undefined, { signal: done.signal }).catch(() => {});
  await Promise.race([promise, late]);
  done.abort();
}
