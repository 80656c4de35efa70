// What is told of the grants in force when a runner starts: a line of what they are, and what its owner should know.

import { oneLine } from "../../protocol/text.ts";
import type { Section } from "./decide.ts";
import { rulesOf } from "./kinds/index.ts";
import { kinds } from "./policy.ts";

/** Items of one kind that the line shows. */
const MOST_SHOWN = 6;

/** `run git, npm; every shell`; undefined where nothing is allowed. */
export function describeSection({ allow, deny }: Section): string | undefined {
  const parts: string[] = allow === true ? ["everything this user can do"] : [];
  for (const [byKind, verb] of [
    [allow === true ? {} : allow, ""],
    [deny, "but no "],
  ] as const)
    for (const kind of kinds) {
      const items = byKind[kind];
      if (items === undefined) continue;
      if (items === true) parts.push(verb ? `${verb}${kind}` : `${kind} (all)`);
      else {
        const more = items.length > MOST_SHOWN ? ` and ${items.length - MOST_SHOWN} more` : "";
        const shown = items.slice(0, MOST_SHOWN).map(({ text }) => oneLine(text));
        parts.push(`${verb}${kind} ${shown.join(", ")}${more}`);
      }
    }
  return parts.length === 0 ? undefined : parts.join("; ");
}

/** Each once: what a grant amounts to, or does not. */
export function warningsOf(sections: readonly Section[]): string[] {
  const warnings = new Set<string>();
  for (const { from, allow } of sections) {
    if (allow === true) continue;
    for (const kind of kinds) {
      const items = allow[kind];
      if (items === undefined) continue;
      const { warning } = rulesOf[kind];
      for (const one of items === true ? [true as const] : items) {
        const text = one === true ? "" : `=${one.text}`;
        const why = warning?.(one === true ? true : one.item) ?? (one === true ? "everything of its kind" : undefined);
        if (why !== undefined) warnings.add(`${from}: allow ${kind}${text}: ${why}`);
      }
    }
  }
  return [...warnings];
}
