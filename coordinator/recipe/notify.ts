// The option `notify` of a job and of a recipe: who is told how it came out. job() and recipe() check it; notify.ts sends.
import { limits } from "../../protocol/limits.ts";
import { checkNames, isRecord, shown, type Wrong } from "./check.ts";
import type { Argv } from "./place.ts";
import { isSecret, labelOf, type Secret } from "./secret.ts";

const outcomes = ["passed", "failed", "cancelled", "lost", "skipped"] as const;

/** How a job came out, or a run, which is never `skipped`. */
export type NotifyOutcome = (typeof outcomes)[number];

/** Tells somebody how a job or a run came out. docs/recipes.md has the JSON document that is told. */
export type NotifyOptions = {
  /**
   * Told when it came out so. Default: `["failed", "lost"]`.
   * @example on: ["passed", "failed"]
   */
  readonly on?: readonly NotifyOutcome[];
} & (
  | {
      /**
       * A program and its arguments, run on the coordinator in the recipe's folder, for at most a minute: it gets the document on its
       * stdin, and `SORTIE_RUN`, `SORTIE_OUTCOME` and, for a job, `SORTIE_JOB` beside the coordinator's own environment.
       * @example command: ["./tell-the-team", "ci"]
       */
      readonly command: Argv;
    }
  | {
      /**
       * Gets the document as a POST, within ten seconds; tried again twice.
       * @example url: "https://hooks.example/ci"
       * @example url: secret("HOOK_URL")
       */
      readonly url: string | Secret;
    }
);

/** One of them, checked. */
export type Notify = NotifyOptions & { readonly on: readonly NotifyOutcome[] };

/** Throws what `wrong` makes of the first thing that cannot be. */
export function notifyOf(value: unknown, wrong: Wrong): readonly Notify[] {
  if (value === undefined) return [];
  const list = Array.isArray(value) ? value : [value];
  if (list.length > limits.notifiesEach) throw wrong(`notify has more than ${limits.notifiesEach} entries.`);
  return list.map((one: unknown) => {
    if (!isRecord(one)) throw wrong(`notify must be an object with a command or a url, not ${shown(one)}.`);
    checkNames("notify", one, ["on", "command", "url"], wrong);
    const { on = ["failed", "lost"], command, url } = one;
    if (!Array.isArray(on) || on.length === 0 || !on.every((outcome) => outcomes.includes(outcome as NotifyOutcome)))
      throw wrong(`notify.on must be a list of outcomes: ${outcomes.join(", ")}.`);
    if ((command === undefined) === (url === undefined)) throw wrong("notify takes a command or a url, one of them.");
    if (command !== undefined) {
      if (!Array.isArray(command) || !command.every((part) => typeof part === "string") || !command[0])
        throw wrong("notify.command must be argv: a list of strings, the program first.");
      return { on, command: [...command] as unknown as Argv };
    }
    if (!isSecret(url) && !isWebAddress(url))
      throw wrong(`notify.url must begin with https:// or http://, or be a secret, not ${shown(url)}.`);
    return { on, url };
  });
}

export function isWebAddress(value: unknown): value is string {
  const url = typeof value === "string" ? URL.parse(value) : null;
  return url?.protocol === "https:" || url?.protocol === "http:";
}

/** Who is told, for people: an address may hold what only its owner should know, so its host is all that is said. */
export function describeNotify(notify: Notify): string {
  if ("command" in notify) return notify.command[0];
  return isSecret(notify.url) ? `the secret ${labelOf(notify.url)}` : (URL.parse(notify.url)?.host ?? "");
}
