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
  /** `rule`: what allowed it, as it was written. `taken`: what the value was taken for, and is to be used in its stead. */
  | { readonly allowed: true; readonly rule: string; readonly taken?: string }
  /** `rule`: what denied it; undefined where nothing allows it. */
  | { readonly allowed: false; readonly rule: string | undefined };

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

/** The want with what its value comes to on this runner. Looks nothing up where there is nothing to decide. */
export async function resolveWant(sections: readonly Section[], want: Want): Promise<Want> {
  const { resolve } = rulesOf[want.kind];
  return resolve && !isUnlimited(sections) ? { ...want, resolved: await resolve(want.value) } : want;
}

export function decide(sections: readonly Section[], { kind, value, resolved }: Want): Decision {
  const names = resolved?.names ?? [value];
  const allNames = [...names, ...(resolved?.also ?? [])];
  const rules = rulesOf[kind];
  const denies = rules.denies ?? rules.matches;
  let restricted = false;
  for (const { from, deny } of sections) {
    const items = deny[kind];
    if (items === undefined) continue;
    if (items === true) return { allowed: false, rule: ruleText(from, "deny", kind) };
    restricted = true;
    // What has no name here cannot be shown to be none of those that are denied.
    const hit = items.find(({ item }) => names.length === 0 || allNames.some((name) => denies(item, name)));
    if (hit) return { allowed: false, rule: ruleText(from, "deny", kind, hit.text) };
  }
  const rule = allowingRule(sections, kind, names);
  if (rule === undefined) return { allowed: false, rule: undefined };
  // Where everything of the kind may be had, it is left as it was asked for.
  const [name = value] = names;
  const taken = resolved || restricted || rule.byItem ? rules.taken?.(name) : undefined;
  return { allowed: true, rule: rule.text, ...(taken === undefined ? {} : { taken }) };
}

/** One of the whole kind before one of an item. */
function allowingRule(
  sections: readonly Section[],
  kind: Kind,
  names: readonly string[],
): { readonly text: string; readonly byItem: boolean } | undefined {
  const { inAll = () => true, matches } = rulesOf[kind];
  const inWhole = names.length > 0 && names.every((name) => inAll(name));
  for (const { from, allow } of sections) {
    if (allow === true) return { text: `${from}: allow everything`, byItem: false };
    if (allow[kind] === true && inWhole) return { text: ruleText(from, "allow", kind), byItem: false };
  }
  for (const { from, allow } of sections) {
    const items = allow === true ? undefined : allow[kind];
    const hit = items === true ? undefined : items?.find(({ item }) => names.some((name) => matches(item, name)));
    if (hit) return { text: ruleText(from, "allow", kind, hit.text), byItem: true };
  }
  return undefined;
}

const ruleText = (from: string, verb: "allow" | "deny", kind: Kind, item?: string): string =>
  `${from}: ${verb} ${kind}${item === undefined ? "" : `=${item}`}`;

/** Whether anything at all of the kind may be had. */
export const allowsSome = (sections: readonly Section[], kind: Kind): boolean =>
  sections.some(({ allow }) => allow === true || allow[kind] !== undefined);

/** Whether everything is allowed and nothing denied: then there is nothing to decide. */
export const isUnlimited = (sections: readonly Section[]): boolean =>
  sections.some(({ allow }) => allow === true) && sections.every(({ deny }) => Object.keys(deny).length === 0);
