// What a kind of grant is to the rest: how its items are written, and what they match. One file a kind beside this one;
// index.ts has them all.
import { SortieError } from "../../../protocol/errors.ts";
import type { Resolved } from "../policy.ts";

export interface KindRules<Item> {
  /** What a value comes to on this runner, where it is not compared as it was asked for. `inAll` and `matches` get its names then. */
  resolve?(value: string): Promise<Resolved>;
  /** An item as a person wrote it. Throws USAGE where it is none: then the runner does not start. */
  parse(text: string): Item;
  /** Whether what is wanted is covered by the item. */
  matches(item: Item, value: string): boolean;
  /** The same for an item that denies, which may catch more: also what cannot be compared. Default: `matches`. */
  denies?(item: Item, value: string): boolean;
  /** Whether a grant of the whole kind covers the value. Default: yes. */
  inAll?(value: string): boolean;
  /** What the value was taken for, and is to be used in its stead: the program, the folder that was looked at. */
  taken?(value: string): string | undefined;
  /** The item that would grant just this value; undefined where only the whole kind can be granted. Default: the value. */
  itemFor?(value: string): string | undefined;
  /** What it means to grant just this value, where that is more than it says. A peer is told: by the value's text alone. */
  means?(value: string): string | undefined;
  /** What the runner's owner should know who allows this; undefined where there is nothing to say. */
  warning?(allowed: Item | true): string | undefined;
}

export const badItem = (kind: string, text: string, why: string): SortieError =>
  new SortieError("USAGE", `${JSON.stringify(text)} cannot be granted or denied by ${kind}: ${why}.`, {
    hint: "docs/grants.md has what every kind takes.",
  });

/** A kind that is granted as a whole, or not at all. */
export const wholeOnly = (kind: string, warning: string): KindRules<never> => ({
  parse(text) {
    throw badItem(kind, text, "it is granted as a whole, without a value");
  },
  matches: () => false,
  itemFor: () => undefined,
  means: () => warning,
  warning: () => warning,
});
