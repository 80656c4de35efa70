// How a denial is told to a coordinator: what was wanted, the flags that would grant it and what that would mean. Never what
// else is granted, nor what a name stands for on the runner.
import { SortieError } from "../../protocol/errors.ts";
import { addItems, flagsOf, itemsFor, meaningOf } from "./needed.ts";
import type { ByKind, Want } from "./policy.ts";

export interface DeniedWant {
  readonly want: Want;
  /** Undefined where nothing allows it. */
  readonly rule: string | undefined;
}

/** More of them make nothing clearer. */
const MOST_SHOWN = 5;

/** `own`: of the runner within a coordinator, whose flags are those of that very command. */
export function denial(
  { name: runner, own }: { readonly name: string; readonly own?: boolean | undefined },
  denied: readonly DeniedWant[],
  onlyAudits: boolean,
): SortieError {
  const byRule = denied.filter(({ rule }) => rule !== undefined);
  const about = (byRule.length > 0 ? byRule : denied).map(({ want }) => want);
  const needed = about.reduce<ByKind>((byKind, want) => addItems(byKind, want.kind, itemsFor(want)), {});
  const flags = flagsOf(needed).join(" ");
  const meanings = new Set(about.flatMap((want) => meaningOf(want) ?? []));
  const means = [...meanings].slice(0, MOST_SHOWN).map((meaning) => ` But ${meaning}.`);
  if (onlyAudits)
    return new SortieError("DENIED", `The runner ${runner} only audits: it refuses every job.`, {
      hint: flags ? `This one would need ${flags}.${means.join("")}` : "This one would need nothing more.",
    });
  const whats = about.slice(0, MOST_SHOWN).map(({ what }) => what);
  if (about.length > MOST_SHOWN) whats.push(`${about.length - MOST_SHOWN} things more`);
  const what = whats.join(", or ");
  if (byRule.length > 0)
    return new SortieError("DENIED", `The runner ${runner} was told not to let this coordinator ${what}.`, {
      hint: "Its owner denies this, whatever is allowed beside it.",
    });
  return new SortieError("DENIED", `The runner ${runner} was not told to let this coordinator ${what}.`, {
    hint: `${own ? `${flags} on this command line would allow it.` : `Its owner can start it with ${flags}, where this coordinator is to be trusted with it.`}${means.join("")}`,
  });
}
