// What jobs ask of runners, held against those that are there. Pure.
import { closest } from "../protocol/closest.ts";
import { SortieError } from "../protocol/errors.ts";
import { assign } from "./assign.ts";
import { asksFor, describeRule, type Labelled, type LabelRule, suits, valuesOf } from "./recipe/selector.ts";

/** What a job asks of the runner it runs on: a name, and rules for labels. Empty fits every runner without mandatory ones. */
export interface Selector {
  readonly runner?: string;
  readonly labels: Readonly<Record<string, LabelRule>>;
  /** Of its slots; absent: one. */
  readonly slots?: number;
  /** Ids of runners that it is kept away from. */
  readonly not?: readonly string[];
}

/** Whether a runner is what the job asks for, and the job what the runner is for. */
export const fits = (on: Selector, runner: Labelled & { readonly id?: string }): boolean =>
  !(runner.id !== undefined && on.not?.includes(runner.id)) &&
  (on.runner === undefined || on.runner === runner.name) &&
  (on.slots ?? 1) <= (runner.slots ?? Number.POSITIVE_INFINITY) &&
  Object.entries(on.labels).every(([name, rule]) => suits(rule, runner.labels[name])) &&
  (runner.mandatory ?? []).every((name) => asksFor(on.labels[name]));

/** A job, as far as its runners are concerned. */
export interface Asking {
  readonly name: string;
  readonly on: Selector;
  /** Places that it has at the same time. */
  readonly also?: readonly { readonly name: string; readonly on: Selector }[];
  readonly at?: { readonly file: string; readonly line: number };
  /** It may not run at all. */
  readonly condition?: unknown;
}

/** Runners that an error names one by one. */
const MOST_NAMED = 10;

/** Throws SELECTOR_UNKNOWN where a job asks for what none of the runners is, and says what there is. */
export function checkSelectors({ jobs }: { readonly jobs: readonly Asking[] }, runners: readonly Labelled[]): void {
  // Many jobs ask for the same; runners may be hundreds.
  const served = new Set<string>();
  for (const job of jobs) {
    const places = [{ name: "", on: job.on }, ...(job.also ?? [])];
    const key = places.map(({ on }) => selectorKey(on)).join(" ");
    if (job.condition || served.has(key)) continue;
    served.add(key);
    for (const { name, on } of places) checkPlace(job, name, on, runners);
    if (places.length > 1) checkTogether(job, places, runners);
  }
}

function checkPlace({ name: job, at }: Asking, name: string, on: Selector, runners: readonly Labelled[]): void {
  if (runners.some((runner) => fits(on, runner))) return;
  const meant = meantBy(on, runners);
  throw new SortieError(
    "SELECTOR_UNKNOWN",
    `${job} asks for ${describeSelector(on)}${name && ` (also.${name})`}; there is ${describeRunners(runners, on.slots !== undefined)}.`,
    { ...(at ? { at } : {}), ...(meant ? { hint: `Did you mean ${meant}?` } : {}) },
  );
}

/** Each of the places has its runner, but they are had at the same time. */
function checkTogether(
  { name: job, at }: Asking,
  places: NonNullable<Asking["also"]>,
  runners: readonly Labelled[],
): void {
  const asked = places.map(({ on }) => ({
    slots: on.slots ?? 1,
    fits: (runner: number) => fits(on, runners[runner] as Labelled),
  }));
  if (
    assign(
      asked,
      runners.map(({ slots = Number.POSITIVE_INFINITY }) => slots),
    )
  )
    return;
  const list = places.map(({ name, on }) => `${describeSelector(on)}${name && ` (also.${name})`}`);
  throw new SortieError(
    "SELECTOR_UNKNOWN",
    `${job} asks for ${list.join(", ")}, all at the same time; that is more than there is: ${describeRunners(runners, true)}.`,
    {
      ...(at ? { at } : {}),
      hint: "Each place takes slots of its own, also where two are on the same runner: start that with more, or another one.",
    },
  );
}

function describeRunners(runners: readonly Labelled[], withSlots: boolean): string {
  const there = runners
    .slice(0, MOST_NAMED)
    .map(
      (runner) => `${runner.name} (${describeLabels(runner)}${withSlots ? `, ${slotsText(runner.slots ?? 1)}` : ""})`,
    );
  if (runners.length > MOST_NAMED) there.push(`${runners.length - MOST_NAMED} more`);
  return there.join(", ") || "no runner";
}

/** A runner's name, a label or a value that is near to one that nothing has. */
function meantBy({ runner, labels }: Selector, runners: readonly Labelled[]): string | undefined {
  const names = runners.map(({ name }) => name);
  if (runner !== undefined && !names.includes(runner)) {
    const near = closest(runner, names);
    return near && `the runner ${near}`;
  }
  const known = new Set(runners.flatMap((one) => Object.keys(one.labels)));
  for (const [label, rule] of Object.entries(labels)) {
    if (!asksFor(rule)) continue;
    const near = known.has(label) ? undefined : closest(label, [...known]);
    if (near) return `the label ${near}`;
    const values = [...new Set(runners.flatMap((one) => one.labels[label] ?? []))];
    for (const value of valuesOf(rule)) {
      const other = values.includes(value) ? undefined : closest(value, values);
      if (other) return `${label}=${other}`;
    }
  }
  return undefined;
}

/** The same for selectors that ask for the same, and for those alone. */
export const selectorKey = (on: Selector): string =>
  JSON.stringify([
    on.runner ?? null,
    ...(on.slots === undefined ? [] : [on.slots]),
    ...(on.not === undefined ? [] : [on.not]),
    ...Object.entries(on.labels)
      .map(([name, rule]) => (typeof rule === "string" ? `${name}=${rule}` : `${name} ${JSON.stringify(rule)}`))
      .sort(),
  ]);

export const describeSelector = (on: Selector): string =>
  [
    ...(on.runner === undefined ? [] : [`runner=${on.runner}`]),
    ...Object.entries(on.labels).map(([name, rule]) => describeRule(name, rule)),
    ...(on.slots === undefined ? [] : [slotsText(on.slots)]),
  ].join(" ") || "any runner";

const slotsText = (slots: number): string => `${slots} ${slots === 1 ? "slot" : "slots"}`;

/** `gpu!=a100` is a label that jobs must ask for. */
export const describeLabels = ({ labels, mandatory = [] }: Omit<Labelled, "name">): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}${mandatory.includes(name) ? "!" : ""}=${value}`)
    .join(" ") || "no labels";
