// Whether a job may be started, asked by runner.ts before each: it gives the request that the keeper gets, or throws DENIED.
import { resolve } from "node:path";
import type { Caller } from "../protocol/call.ts";
import type { Confinement } from "../protocol/confinement.ts";
import { asSortieError, type SortieError } from "../protocol/errors.ts";
import type { AttemptId } from "../protocol/ids.ts";
import { callJson } from "../protocol/make-call.ts";
import type { JobRequest, JobRunInput, OutputOf } from "../protocol/messages.ts";
import { placeOf } from "../protocol/place.ts";
import { isInside, realPath } from "../protocol/real-path.ts";
import type { Ask } from "./grants/ask.ts";
import { confinementOf } from "./grants/confine.ts";
import { allowsSome, type Decision, decide, isUnlimited, resolveWant, type Section } from "./grants/decide.ts";
import { denial } from "./grants/denial.ts";
import { rulesOf } from "./grants/kinds/index.ts";
import { mountValue } from "./grants/kinds/mount.ts";
import { flagFor } from "./grants/needed.ts";
import type { Kind, Want } from "./grants/policy.ts";
import { wantsOf } from "./grants/wants.ts";
import { hideIn } from "./hide-secrets.ts";
import type { KeeperLink } from "./keeper/keeper-link.ts";

export interface Admission {
  /**
   * Rejects with DENIED: to the peer it tells the kind, the value and the flag, and nothing else of the policy. Nobody is asked for
   * a caller that has left.
   */
  admit(asked: JobRunInput, caller: Caller, left: AbortSignal): Promise<Admitted>;
}

export interface Admitted {
  /** What the keeper is to start: the request, with what was looked at in place of what was named. */
  readonly request: JobRequest;
  /** What its containers are held to beyond what it asks for. */
  readonly confine?: Confinement | undefined;
  /** What allowed it, and what was wanted, for the record. */
  readonly rule: string;
  readonly wants: readonly Want[];
}

/** Everything, to everybody who can call: for tests. */
export const admitAll: Admission = {
  admit: async ({ request }) => ({ request, rule: "everything is allowed", wants: wantsOf(request) }),
};

/** The rule that denied a job: for the runner's own record, and never for the peer. */
export class DeniedBy extends Error {}

export interface AdmissionOptions {
  /** The runner's name. */
  readonly name: string;
  /** It is the runner within a coordinator. */
  readonly own?: boolean;
  /** The policies that hold for a peer now. */
  sectionsFor(caller: Caller): readonly Section[];
  /** Knows where the commands of driven jobs run. */
  readonly keeper: KeeperLink;
  /** Asked about what no rule allows or denies. */
  readonly ask?: Ask | undefined;
  /** Then every job is refused, and this is told what it would have needed. */
  readonly onlyAudit?: ((missing: readonly Want[]) => void) | undefined;
  readonly log?: (line: string) => void;
}

type Denied = Decision & { readonly allowed: false } & { readonly want: Want };

export function createAdmission(options: AdmissionOptions): Admission {
  const { sectionsFor, keeper, ask, onlyAudit, log = () => {} } = options;

  return {
    async admit({ request }, caller, left) {
      const sections = sectionsFor(caller);
      if (!onlyAudit && isUnlimited(sections)) return { request, rule: "allow everything", wants: wantsOf(request) };
      const asked = await wantsIn(sections, request, caller.owner ?? caller.peer, keeper);
      const wants = await Promise.all(asked.map((want) => resolveWant(sections, want)));
      const verdict = judge(sections, wants);
      const { denied, rules, taken } = verdict;
      if (request.driven && placeOf(request) === "local" && denied.length === 0 && !startsAnything(sections, ask))
        denied.push({ want: FUNCTION, allowed: false, rule: undefined });
      if (onlyAudit) {
        onlyAudit(denied.map(({ want }) => want));
        throw refuse(denied, true);
      }
      // Nobody is asked about what comes to nothing.
      if (!ask || denied.some(({ rule }) => rule !== undefined)) {
        if (denied.length > 0) throw refuse(denied);
      } else {
        for (const one of denied) {
          const { want } = one;
          const decided = (): Decision => decide(sectionsFor(caller), want);
          const rule = await ask({ want, caller, job: request.job, decided, left });
          if (rule === undefined) throw refuse([one]);
          rules.add(rule);
          taken.set(want, rulesOf[want.kind].taken?.(want.resolved?.names[0] ?? want.value));
        }
        // The policy may have changed while somebody thought about it.
        const asked = new Set(denied.map(({ want }) => want));
        const since = judge(sectionsFor(caller), wants).denied;
        const deniedSince = since.filter(({ want, rule }) => rule !== undefined || !asked.has(want));
        if (deniedSince.length > 0) throw refuse(deniedSince);
      }
      const rule = [...rules].join("; ") || "nothing is wanted";
      // As above: of what holds by now.
      const confine = confinementOf(sectionsFor(caller), request);
      return { request: asTaken(request, taken), confine, rule, wants };

      function refuse(denied: readonly Denied[], onlyAudits = false): SortieError {
        const why = denied.map(
          ({ want, rule }) => `${want.what} (${rule ?? `nothing allows it; ${flagFor(want)} would`})`,
        );
        const told = why.join(", ") || "only audited";
        log(`refused ${request.job} for ${caller.name}: ${hideIn({ request }, told)}`);
        const error = denial(options, denied, onlyAudits);
        error.cause = new DeniedBy(denied.map(({ rule }) => rule ?? "nothing allows it").join("; ") || "only audited");
        return error;
      }
    },
  };
}

/** A function's job runs nothing itself; where none of its commands could be allowed it is not begun. */
const FUNCTION: Want = { kind: "run", value: "", what: "run the commands of a function" };
const startsAnything = (sections: readonly Section[], ask: unknown): boolean =>
  ask !== undefined || allowsSome(sections, "run") || allowsSome(sections, "shell");

function judge(sections: readonly Section[], wants: readonly Want[]) {
  const rules = new Set<string>();
  const denied: Denied[] = [];
  const taken = new Map<Want, string | undefined>();
  for (const want of wants) {
    const decision = decide(sections, want);
    if (!decision.allowed) denied.push({ want, ...decision });
    else {
      rules.add(decision.rule);
      taken.set(want, decision.taken);
    }
  }
  return { rules, denied, taken };
}

/** A command within is decided by where its driven job runs; one whose driven job is not known, as of the runner itself. */
async function wantsIn(
  sections: readonly Section[],
  request: JobRequest,
  owner: string,
  keeper: KeeperLink,
): Promise<Want[]> {
  const { within, cwd = "" } = request;
  if (within === undefined) return wantsOf(request);
  const parent = await parentOf(keeper, owner, within);
  if (parent?.place !== "local") return wantsOf(request, parent?.place);
  const path = resolve(parent.directory, cwd);
  const isOwn = isInside(realPath(parent.directory), realPath(path));
  // Its driven job's own directory was made for it, or allowed; in that one something may be denied.
  const isFree = isOwn && (parent.fresh || !isDenied(sections, { kind: "cwd", value: path, what: "" }));
  return wantsOf({ ...request, cwd: isFree ? undefined : path });
}

const isDenied = (sections: readonly Section[], want: Want): boolean => {
  const decision = decide(sections, want);
  return !decision.allowed && decision.rule !== undefined;
};

async function parentOf(
  keeper: KeeperLink,
  owner: string,
  attemptId: AttemptId,
): Promise<OutputOf<"/keeper/place"> | undefined> {
  try {
    return await callJson(await keeper.open(), "/keeper/place", { owner, attemptId });
  } catch (error) {
    // The keeper will refuse the command as well.
    if (asSortieError(error).code === "NOT_FOUND") return undefined;
    throw error;
  }
}

/** What was decided about is what is started: a name may mean something else by then, or in the job's own PATH. */
function asTaken(request: JobRequest, taken: ReadonlyMap<Want, string | undefined>): JobRequest {
  const by = (kind: Kind): Map<string, string> =>
    new Map(
      [...taken].flatMap(([want, path]) => (want.kind === kind && path !== undefined ? [[want.value, path]] : [])),
    );
  const programs = by("run");
  const [cwd] = by("cwd").values();
  const [images, sources] = [by("image"), by("mount")];
  const inFull = <Of extends { image: string }>(of: Of): Of => ({ ...of, image: images.get(of.image) ?? of.image });
  const { container } = request;
  return {
    ...request,
    steps: request.steps.map((step) => {
      const path = "argv" in step ? programs.get(step.argv[0] ?? "") : undefined;
      return "argv" in step && path !== undefined ? { ...step, argv: [path, ...step.argv.slice(1)] } : step;
    }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(container && {
      container: {
        ...inFull(container),
        mounts: container.mounts.map((mount) => ({
          ...mount,
          source: sources.get(mountValue(mount.source, mount.readOnly)) ?? mount.source,
        })),
        services: container.services.map(inFull),
      },
    }),
  };
}
