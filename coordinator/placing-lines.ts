// What placing.ts keeps: runners and their slots, what jobs ask for, the lines in which they wait, and claims on slots that are
// not free yet.
import type { AskedPlace } from "./assign.ts";
import type { PlanJob } from "./plan.ts";
import type { Labelled } from "./recipe/selector.ts";
import type { Selector } from "./selectors.ts";
import { Entrants } from "./tournament.ts";

/** A runner, as far as placing goes. */
export interface PlacingRunner extends Labelled {
  readonly id: string;
  /** In all. */
  readonly slots: number;
}

export class Runner implements PlacingRunner {
  readonly id: string;
  readonly name: string;
  readonly labels: Labelled["labels"];
  readonly mandatory: Labelled["mandatory"];
  readonly slots: number;
  readonly number: number;
  free: number;
  state: "open" | "paused" | "lost" = "open";
  /** Lines with a place that it fits. */
  readonly lines = new Entrants();
  readonly holds: { readonly claim: Claim; readonly slots: number }[] = [];
  /** Slots of all its holds. */
  held = 0;

  constructor({ id, name, labels, mandatory, slots }: PlacingRunner, number: number) {
    this.id = id;
    this.name = name;
    this.labels = labels;
    this.mandatory = mandatory;
    this.slots = slots;
    this.free = slots;
    this.number = number;
  }
}

/** What jobs ask for; those of several lines may ask for the same. */
export class Ask {
  readonly places: readonly (AskedPlace & { readonly on: Selector; readonly runners: Entrants })[];
  readonly lines: Line[] = [];
  /** Whether the runners that are left could hold it, once they are free. */
  isServed = false;

  constructor({ on, also = [] }: PlanJob) {
    this.places = [{ on }, ...also].map(({ on }) => {
      const runners = new Entrants();
      return { on, slots: on.slots ?? 1, runners, fits: (runner) => runners.has(runner) };
    });
  }

  /** One slot of one runner: it needs no claim, since each slot that gets free is enough. */
  get isSmall(): boolean {
    return this.places.length === 1 && this.places[0]?.slots === 1;
  }
}

export interface Waiting {
  readonly job: PlanJob;
  readonly priority: number;
  /** When it became ready, in turns. */
  readonly since: number;
  readonly line: Line;
  isGone: boolean;
}

export interface Claim {
  readonly by: Waiting;
  /** A runner for each place. */
  readonly at: Runner[];
  /** Runners that may have got room since. */
  readonly chances: Set<Runner>;
}

export const isBefore = (one: Waiting, other: Waiting): boolean =>
  one.priority === other.priority ? one.since < other.since : one.priority > other.priority;

/** First come first served. */
export class Line {
  readonly ask: Ask;
  readonly number: number;
  claim: Claim | undefined;
  #waiting: Waiting[] = [];
  #head = 0;

  constructor(ask: Ask, number: number) {
    this.ask = ask;
    this.number = number;
  }

  get first(): Waiting | undefined {
    while (this.#waiting[this.#head]?.isGone) this.#head++;
    // The served part is cut off now and then, so that the line does not grow with the run.
    if (this.#head > 1_000 && this.#head * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return this.#waiting[this.#head];
  }

  get all(): Waiting[] {
    return this.#waiting.slice(this.#head).filter(({ isGone }) => !isGone);
  }

  /** Mostly at the end; one that stood here before comes back near the head, which it had reached. */
  add(waiting: Waiting): void {
    const last = this.#waiting.at(-1);
    if (!last || last.since < waiting.since) return void this.#waiting.push(waiting);
    let at = this.#head;
    while ((this.#waiting[at]?.since ?? Number.POSITIVE_INFINITY) < waiting.since) at++;
    this.#waiting.splice(at, 0, waiting);
  }
}
