// What would grant a want: the flag, the item, and what a person should know before. For denials, `policy explain`,
// `--audit-only` and the questions in a terminal.
import { quote } from "../../protocol/quote.ts";
import { rulesOf } from "./kinds/index.ts";
import type { ByKind, Items, Kind, Want } from "./policy.ts";

/** Longer ones are a peer's joke, and no item. */
const LONGEST_ITEM = 200;

/** What grants this want and no more; the whole kind where nothing less can. */
export function itemsFor({ kind, value }: Want): Items {
  const { itemFor = (one: string) => one, parse } = rulesOf[kind];
  const item = value.length > LONGEST_ITEM ? undefined : itemFor(value);
  if (item === undefined) return true;
  try {
    parse(item);
    return [item];
  } catch {
    // There are folders with a * in their names, and no items.
    return true;
  }
}

/** What it means to grant it, where that is more than it says. */
export const meaningOf = ({ kind, value }: Want): string | undefined => rulesOf[kind].means?.(value);

/** Both together. */
export function addItems(byKind: ByKind, kind: Kind, items: Items): ByKind {
  const before = byKind[kind];
  const both = before === true || items === true ? true : [...new Set([...(before ?? []), ...items])];
  return { ...byKind, [kind]: both };
}

/** As `runner start` takes it, for a shell. */
export function flagOf(kind: Kind, items: Items): string {
  if (items === true) return `--allow-${kind}`;
  // A comma is between items there, and so are spaces.
  if (items.some((item) => item.includes(",") || item !== item.trim())) return `--allow-${kind} in runner.policy.json`;
  return `--allow-${kind}=${quote(items.join(","))}`;
}

export const flagFor = (want: Want): string => flagOf(want.kind, itemsFor(want));

/** One flag a kind. */
export const flagsOf = (byKind: ByKind): string[] =>
  (Object.entries(byKind) as [Kind, Items][]).map(([kind, items]) => flagOf(kind, items));
