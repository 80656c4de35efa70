// What a job asks of a runner's labels: rules, one a label. Recipes write them, job() checks them, and the plan, the
// schedule and the fleet ask them. Pure.
import { isRecord, shown, type Wrong } from "./check.ts";

/**
 * What a label must be: that value; there with any value (`true`), or not there (`false`); one of a list; or what `not`,
 * `any` and `all` make of those.
 */
export type LabelRule = string | boolean | readonly LabelRule[] | Not | Any | All;

/** What `not()` gives. */
export interface Not {
  readonly not: LabelRule;
}
/** What `any()` gives. */
export interface Any {
  readonly any: readonly LabelRule[];
}
/** What `all()` gives. */
export interface All {
  readonly all: readonly LabelRule[];
}

/**
 * The label must not be so. A runner without the label fits too: `all(true, not("a100"))` keeps those away.
 * @example on: { arch: not("arm64") }
 */
export const not = (rule: LabelRule): Not => Object.freeze({ not: rule });

/**
 * One of the rules must fit.
 * @example on: { gpu: any("a100", false) }
 */
export const any = (...rules: readonly LabelRule[]): Any => Object.freeze({ any: Object.freeze([...rules]) });

/**
 * All of the rules must fit.
 * @example on: { gpu: all(true, not("t4")) }
 */
export const all = (...rules: readonly LabelRule[]): All => Object.freeze({ all: Object.freeze([...rules]) });

/** A runner, as far as selectors go. */
export interface Labelled {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Labels that a job must ask for: without that the runner is not for it. */
  readonly mandatory?: readonly string[] | undefined;
  /** In all; where they are not known, enough. */
  readonly slots?: number;
}

/** Whether a label's value, or its absence, is as the rule has it. */
export function suits(rule: LabelRule, value: string | undefined): boolean {
  if (typeof rule === "string") return value === rule;
  if (typeof rule === "boolean") return (value !== undefined) === rule;
  if (isList(rule)) return rule.some((one) => suits(one, value));
  if ("not" in rule) return !suits(rule.not, value);
  if ("any" in rule) return rule.any.some((one) => suits(one, value));
  return rule.all.every((one) => suits(one, value));
}

/** Whether the rule asks for the label: it is not content with a runner that has none. */
export const asksFor = (rule: LabelRule | undefined): boolean => rule !== undefined && !suits(rule, undefined);

/** Throws what `wrong` makes of the first thing that cannot be. `isValue` tells whether a text can be a label's value. */
export function checkRule(label: string, rule: unknown, isValue: (text: string) => boolean, wrong: Wrong): void {
  if (typeof rule === "boolean") return;
  if (typeof rule === "string") {
    if (isValue(rule)) return;
    throw wrong(`on.${label} cannot be ${shown(rule)}: letters, digits and _.:/+- (at most 100).`);
  }
  const parts = partsOf(rule);
  if (!parts)
    throw wrong(
      `on.${label} must be a string, true, false, a list of those, or what not(), any() and all() give, not ${shown(rule)}.`,
    );
  if (parts.length === 0) throw wrong(`on.${label} has an empty list: no runner can be that.`);
  for (const part of parts) checkRule(label, part, isValue, wrong);
}

function partsOf(rule: unknown): readonly unknown[] | undefined {
  if (Array.isArray(rule)) return rule;
  if (!isRecord(rule) || Object.keys(rule).length !== 1) return undefined;
  if ("not" in rule) return [rule["not"]];
  const parts = rule["any"] ?? rule["all"];
  return Array.isArray(parts) ? parts : undefined;
}

/** `gpu=a100`, `gpu`, `no gpu`, `os=linux|darwin`, `arch!=arm64`; longer rules in brackets. */
export function describeRule(label: string, rule: LabelRule): string {
  if (typeof rule === "string") return `${label}=${rule}`;
  if (typeof rule === "boolean") return rule ? label : `no ${label}`;
  if (isList(rule) || "any" in rule) {
    const rules = isList(rule) ? rule : rule.any;
    if (rules.every((one) => typeof one === "string")) return `${label}=${rules.join("|")}`;
    return `(${rules.map((one) => describeRule(label, one)).join(" or ")})`;
  }
  if ("all" in rule) return `(${rule.all.map((one) => describeRule(label, one)).join(" and ")})`;
  return typeof rule.not === "string" ? `${label}!=${rule.not}` : `not (${describeRule(label, rule.not)})`;
}

/** Values that a rule names. */
export function valuesOf(rule: LabelRule): string[] {
  if (typeof rule === "string") return [rule];
  return ((partsOf(rule) ?? []) as readonly LabelRule[]).flatMap(valuesOf);
}

const isList = (rule: LabelRule): rule is readonly LabelRule[] => Array.isArray(rule);
