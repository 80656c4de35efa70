// What the front has to say to the audit, which its keeper writes: calls that were refused, pairings, strangers at the door. It
// waits in memory while the keeper is not there. A peer or a stranger who asks for it again and again gets a count, not a
// line each: nobody can push out of the audit what stands there.
import { type AuditDecision, brief, type FrontEvent } from "../protocol/audit.ts";
import type { Caller } from "../protocol/call.ts";
import { asSortieError, type SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { callJson } from "../protocol/make-call.ts";
import type { JobRequest } from "../protocol/messages.ts";
import { DeniedBy } from "./admission.ts";
import type { Want } from "./grants/policy.ts";
import { hideIn } from "./hide-secrets.ts";
import type { KeeperLink } from "./keeper/keeper-link.ts";

/** A call that was refused; the operation and its input where they are known. */
export interface RefusedCall {
  readonly operation?: string | undefined;
  readonly input?: unknown;
}

export interface FrontAudit {
  tell(event: FrontEvent): void;
  refused(caller: Caller, error: SortieError, call: RefusedCall): void;
  pairingRefused(peer: string, host: string, reason: string): void;
  /** Somebody without a pin was given no connection. */
  stranger(peer: string, host: string): void;
  /** Tells what waits, once more. */
  close(): Promise<void>;
}

/** Lines of one type, of one peer or of all strangers, in this minute. */
interface Quota {
  readonly of: "stranger" | "pairing-refused" | "refused";
  readonly peer: string | undefined;
  lines: number;
  /** Those that were only counted. */
  more: number;
}

export function openFrontAudit(keeper: KeeperLink, log: (line: string) => void): FrontAudit {
  const waiting: FrontEvent[] = [];
  const quotas = new Map<string, Quota>();
  let notTold = 0;
  let telling: Promise<void> | undefined;
  let again: NodeJS.Timeout | undefined;
  let said = "";
  const counting = setInterval(count, limits.auditCountMs).unref();

  /** False where there were so many lines in this minute that it is only counted. */
  function take(of: Quota["of"], peer: string | undefined, most: number): boolean {
    const key = `${of} ${peer ?? ""}`;
    const quota = quotas.get(key) ?? { of, peer, lines: 0, more: 0 };
    quotas.set(key, quota);
    if (quota.lines < most) return ++quota.lines > 0;
    quota.more++;
    return false;
  }

  function count(): void {
    const counted = [...quotas.values()].filter(({ more }) => more > 0);
    quotas.clear();
    for (const { of, peer, more } of counted)
      tell({ type: "counted", of, ...(peer === undefined ? {} : { peer: brief(peer) }), count: more });
  }

  function tell(event: FrontEvent): void {
    if (waiting.length >= limits.auditWaiting) notTold++;
    else waiting.push(event);
    if (!again) start();
  }

  function start(): void {
    telling ??= tellAll().finally(() => {
      telling = undefined;
      // What came just after it had looked for more.
      if (waiting.length > 0 && !again) start();
    });
  }

  async function tellAll(): Promise<void> {
    try {
      while (waiting.length > 0) {
        const events = waiting.slice(0, limits.auditEvents);
        await callJson(await keeper.open(), "/keeper/audit", { events });
        waiting.splice(0, events.length);
        said = "";
        if (notTold > 0) waiting.push({ type: "counted", of: "any", count: notTold });
        notTold = 0;
      }
    } catch (error) {
      const { message } = asSortieError(error);
      if (message !== said) log(`the audit: ${message}`);
      said = message;
      again = setTimeout(() => {
        again = undefined;
        start();
      }, limits.auditRetryMs);
      again.unref();
    }
  }

  return {
    tell,
    refused(caller, error, { operation = "", input }) {
      // It went away by itself.
      if (error.code === "CONNECTION_LOST") return;
      if (!take("refused", caller.peer, limits.auditRefusals)) return;
      const about = jobOf(input);
      tell({
        type: "refused",
        peer: brief(caller.peer),
        name: brief(caller.name),
        operation: brief(operation),
        code: error.code,
        message: brief(hideIn(input, error.message)),
        ...about,
        ...ruleOf(error, input),
      });
    },
    pairingRefused(peer, host, reason) {
      if (take("pairing-refused", undefined, limits.auditStrangers))
        tell({ type: "pairing-refused", peer: brief(peer), host: brief(host), reason: brief(reason) });
    },
    stranger(peer, host) {
      if (take("stranger", undefined, limits.auditStrangers))
        tell({ type: "stranger", peer: brief(peer), host: brief(host) });
    },
    async close() {
      clearInterval(counting);
      count();
      clearTimeout(again);
      again = undefined;
      start();
      while (telling) await telling;
      clearTimeout(again);
    },
  };
}

/** Of a call's input, which its schema has checked, what says which job it is about. */
function jobOf(input: unknown): Partial<Pick<JobRequest, "attemptId" | "run" | "job">> {
  if (typeof input !== "object" || input === null) return {};
  const { request, attemptId } = input as { request?: JobRequest; attemptId?: JobRequest["attemptId"] };
  if (request) return { attemptId: request.attemptId, run: request.run, job: request.job };
  return attemptId === undefined ? {} : { attemptId };
}

/** The rule that admission.ts names as the cause of a denial. */
const ruleOf = ({ cause }: SortieError, input: unknown): { rule?: string } =>
  cause instanceof DeniedBy ? { rule: brief(hideIn(input, cause.message)) } : {};

/** What was allowed, for the keeper's line. */
export function decisionOf(
  caller: Caller,
  rule: string,
  wants: readonly Want[],
  signedBy: string | undefined,
  asked: { readonly request: JobRequest },
): AuditDecision {
  const more = wants.length - limits.auditWants;
  return {
    peer: brief(caller.peer),
    name: brief(caller.name),
    wants: wants.slice(0, limits.auditWants).map(({ kind, value }) => ({ kind, value: brief(hideIn(asked, value)) })),
    ...(more > 0 ? { more } : {}),
    rule: brief(hideIn(asked, rule)),
    ...(signedBy === undefined ? {} : { signedBy }),
  };
}
