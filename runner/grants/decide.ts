// Whether policies allow what is wanted: what any of them denies is denied, what none allows is denied as well. A policy
// is compiled once, when the runner starts or its file changes, and judges every job then.
import { rulesOf } from "./kinds/index.ts";
import { type ByKind, type Items, type Kind, kinds, type Policy, type Want } from "./policy.ts";

interface CompiledItem {
  readonly text: string;
  /** What the kind made of it. */
  readonly item: unknown;
}
type CompiledItems = true | readonly CompiledItem[];
type CompiledByKind = { readonly [K in Kind]?: CompiledItems };

/** A policy whose items were read. */
export interface Section {
  /** Where it stands: the flags, or a part of the policy file. */
  readonly from: string;
  readonly allow: true | CompiledByKind;
  readonly deny: CompiledByKind;
}

export type Decision =
  /** `rule`: what allowed it, as it was written. */
  | { readonly allowed: true; readonly rule: string }
  /** `rule`: what denied it; undefined where nothing allows it. `flag` would allow it, where nothing denied it. */
  | { readonly allowed: false; readonly rule: string | undefined; readonly flag: string };

/** Throws USAGE for an item that is none. */
export const compile = (policy: Policy, from: string): Section => ({
  from,
  allow: policy.allow === true ? true : compileByKind(policy.allow),
  deny: compileByKind(policy.deny),
});

function compileByKind(byKind: ByKind): CompiledByKind {
  const compiled: { [K in Kind]?: CompiledItems } = {};
  for (const kind of kinds) {
    const items: Items | undefined = byKind[kind];
    if (items !== undefined)
      compiled[kind] = items === true ? true : items.map((text) => ({ text, item: rulesOf[kind].parse(text) }));
  }
  return compiled;
}

export function decide(sections: readonly Section[], { kind, value }: Want): Decision {
  const flag = flagFor(kind, value);
  const rules = rulesOf[kind];
  const denies = rules.denies ?? rules.matches;
  for (const { from, deny } of sections) {
    const items = deny[kind];
    if (items === undefined) continue;
    if (items === true) return { allowed: false, rule: ruleText(from, "deny", kind), flag };
    const hit = items.find(({ item }) => denies(item, value));
    if (hit) return { allowed: false, rule: ruleText(from, "deny", kind, hit.text), flag };
  }
  for (const { from, allow } of sections) {
    if (allow === true) return { allowed: true, rule: `${from}: allow everything` };
    const items = allow[kind];
    if (items === undefined) continue;
    if (items !== true) {
      const hit = items.find(({ item }) => rules.matches(item, value));
      if (hit) return { allowed: true, rule: ruleText(from, "allow", kind, hit.text) };
    } else if (rules.inAll?.(value) ?? true) return { allowed: true, rule: ruleText(from, "allow", kind) };
  }
  return { allowed: false, rule: undefined, flag };
}

const ruleText = (from: string, verb: "allow" | "deny", kind: Kind, item?: string): string =>
  `${from}: ${verb} ${kind}${item === undefined ? "" : `=${item}`}`;

/** The flag that grants this and no more, where there is one. */
export function flagFor(kind: Kind, value: string): string {
  const { itemFor = (one: string) => one } = rulesOf[kind];
  const item = itemFor(value);
  return item === undefined ? `--allow-${kind}` : `--allow-${kind}=${item}`;
}
