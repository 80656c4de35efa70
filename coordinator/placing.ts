// The lines in which ready jobs wait, and the slots of the runners they wait for. schedule.ts puts jobs in and asks what
// can be placed. Jobs that ask for the same, with the same priority, stand in one line. Only what changed is looked at:
//
// - `untried`: lines whose first job may find a runner. The one of the highest priority that waits longest is tried first.
// - `blocked`: lines whose first job fits no free slot. One is tried again once a runner that it fits has one.
// - A job that takes several slots, or has several places, and finds no room makes a claim: runners that could hold it.
//   Slots that get free there are kept for it from all who come after it, until it has them all. Claims are served in the
//   order of their jobs, so the first one always gets what it waits for: no job starves, and no two wait for each other.
import type { JobName } from "../protocol/ids.ts";
import { assign } from "./assign.ts";
import { Ask, type Claim, isBefore, Line, type PlacingRunner, Runner, type Waiting } from "./placing-lines.ts";
import type { PlanJob } from "./plan.ts";
import { fits, selectorKey } from "./selectors.ts";
import { Tournament } from "./tournament.ts";

export type { PlacingRunner } from "./placing-lines.ts";

/** A job, and the ids of the runners for its places: its own first, then those of `also`, in order. */
export interface Placed {
  readonly job: PlanJob;
  readonly runners: readonly string[];
}

export class Placing {
  readonly #runners: Runner[] = [];
  readonly #byId = new Map<string, Runner>();
  readonly #asks = new Map<string, Ask>();
  readonly #lines: Line[] = [];
  readonly #byKey = new Map<string, Line>();
  readonly #waiting = new Map<JobName, Waiting>();
  /** Slots that jobs have. */
  readonly #taken = new Map<JobName, readonly { readonly runner: Runner; readonly slots: number }[]>();
  readonly #rooms = new Tournament((one, other) => this.#roomOfAll(one) > this.#roomOfAll(other));
  readonly #untried = new Tournament((one, other) => this.#goesBefore(one, other));
  readonly #blocked = new Tournament((one, other) => this.#goesBefore(one, other));
  /** Lines with a claim. */
  readonly #claiming = new Set<Line>();
  /** Runners that may have a slot for a line that is blocked. */
  readonly #opened = new Set<Runner>();

  /** What all placing has cost so far, in nodes of trees. */
  get looks(): number {
    return this.#rooms.looks + this.#untried.looks + this.#blocked.looks;
  }

  addRunner(added: PlacingRunner): void {
    const runner = new Runner(added, this.#runners.length);
    this.#runners.push(runner);
    this.#byId.set(runner.id, runner);
    for (const ask of this.#asks.values()) {
      this.#suit(ask, runner);
      this.#serve(ask);
    }
    this.#changed(runner);
    this.#open(runner);
  }

  /** It takes nothing for now; or again. */
  pause(id: string, isPaused = true): void {
    const runner = this.#byId.get(id);
    if (!runner || runner.state === "lost" || (runner.state === "paused") === isPaused) return;
    runner.state = isPaused ? "paused" : "open";
    this.#changed(runner);
    if (isPaused) this.#dropClaimsOn(runner);
    else this.#open(runner);
  }

  /** It takes nothing any more. Gives the jobs that wait for what nobody else can give. */
  lose(id: string): PlanJob[] {
    const runner = this.#byId.get(id);
    if (!runner || runner.state === "lost") return [];
    runner.state = "lost";
    this.#changed(runner);
    this.#dropClaimsOn(runner);
    const asks = new Set(runner.lines.all.map((line) => (this.#lines[line] as Line).ask));
    for (const ask of asks) this.#serve(ask);
    const hopeless = [...asks]
      .filter(({ isServed }) => !isServed)
      .flatMap((ask) => ask.lines.flatMap(({ all }) => all));
    for (const { job } of hopeless) this.remove(job.name);
    return hopeless.map(({ job }) => job);
  }

  /** Whether the runners that are left could hold the job. */
  serves(job: PlanJob): boolean {
    return this.#lineOf(job).ask.isServed;
  }

  /** The job waits, since that turn. */
  add(job: PlanJob, since: number): void {
    const line = this.#lineOf(job);
    const waiting: Waiting = { job, priority: job.priority ?? 0, since, line, isGone: false };
    this.#waiting.set(job.name, waiting);
    line.add(waiting);
    if (line.first === waiting) this.#tryAgain(line);
  }

  /** The job waits no more. */
  remove(name: JobName): void {
    const waiting = this.#waiting.get(name);
    if (!waiting) return;
    const { line } = waiting;
    const wasFirst = line.first === waiting;
    if (wasFirst) this.#giveUpClaim(line);
    waiting.isGone = true;
    this.#waiting.delete(name);
    if (wasFirst) this.#tryAgain(line);
  }

  /** The job has slots there, for its places in order, whether they are free or not. */
  occupy(job: PlanJob, runners: readonly string[]): void {
    const { places } = this.#lineOf(job).ask;
    const taken = runners.flatMap((id, index) => {
      const runner = this.#byId.get(id);
      return runner ? [{ runner, slots: places[index]?.slots ?? 1 }] : [];
    });
    this.#take(job.name, taken);
  }

  /** The job has its slots no more. */
  release(name: JobName): void {
    const taken = this.#taken.get(name) ?? [];
    this.#taken.delete(name);
    for (const { runner, slots } of taken) {
      runner.free += slots;
      this.#changed(runner);
    }
    for (const { runner } of taken) this.#open(runner);
  }

  /** Places all that can be; they wait no more. */
  place(): Placed[] {
    const placed: Placed[] = [];
    for (let line = this.#next(); line; line = this.#next()) {
      const { first } = line;
      if (line.claim && line.claim.by !== first) this.#giveUpClaim(line);
      const runners = first && this.#runnersFor(line, first);
      if (!runners) {
        if (first && line.ask.isSmall) this.#blocked.set(line.number, true);
        else if (first && !line.claim) this.#claim(line, first);
        this.#untried.set(line.number, false);
        continue;
      }
      this.#giveUpClaim(line);
      const slots = line.ask.places.map((place) => place.slots);
      this.#take(
        first.job.name,
        runners.map((runner, index) => ({ runner, slots: slots[index] ?? 1 })),
      );
      first.isGone = true;
      this.#waiting.delete(first.job.name);
      this.#tryAgain(line);
      placed.push({ job: first.job, runners: runners.map(({ id }) => id) });
    }
    return placed;
  }

  /** The line to be tried next. Blocked ones come in for runners that have a slot again, the first for each. */
  #next(): Line | undefined {
    for (const runner of this.#opened) {
      const isWorth = (line: number): boolean => this.#room(runner, this.#firstOf(line)) > 0;
      const line = runner.free > 0 ? this.#blocked.firstOf(runner.lines, isWorth) : undefined;
      if (line !== undefined) this.#tryAgain(this.#lines[line] as Line);
      else this.#opened.delete(runner);
    }
    const { first } = this.#untried;
    return first === undefined ? undefined : this.#lines[first];
  }

  #runnersFor(line: Line, first: Waiting): readonly Runner[] | undefined {
    if (line.claim) return this.#claimed(line.claim);
    const found = this.#free(line.ask, first);
    if (found || line.ask.isSmall) return found;
    // Claims of jobs that come after this one give way; they are tried again behind it.
    const later = [...this.#claiming].filter((other) => isBefore(first, (other.claim as Claim).by));
    for (const other of later) {
      this.#giveUpClaim(other);
      this.#tryAgain(other);
    }
    return later.length > 0 ? this.#free(line.ask, first) : undefined;
  }

  /** Runners with room now, the one with most of it for a single place. */
  #free(ask: Ask, first: Waiting): readonly Runner[] | undefined {
    const [place] = ask.places;
    if (!place) return undefined;
    if (ask.places.length > 1) {
      const rooms = this.#runners.map((runner) => (this.#isOpen(runner) ? this.#roomOfAll(runner.number) : 0));
      return this.#assigned(ask, rooms);
    }
    const most = this.#rooms.firstOf(place.runners, (runner) => this.#roomOfAll(runner) >= place.slots);
    if (most !== undefined) return [this.#runners[most] as Runner];
    if (!ask.isSmall) return undefined;
    for (const { claim } of this.#claiming) {
      if (!claim || !isBefore(first, claim.by)) continue;
      const runner = claim.at.find((held) => place.fits(held.number) && this.#room(held, first) > 0);
      if (runner) return [runner];
    }
    return undefined;
  }

  #assigned(ask: Ask, rooms: readonly number[]): Runner[] | undefined {
    const mostFirst = this.#runners
      .map(({ number }) => number)
      .sort((one, other) => this.#roomOfAll(other) - this.#roomOfAll(one));
    return assign(ask.places, rooms, mostFirst)?.map((number) => this.#runners[number] as Runner);
  }

  /** What the job will have, once it is free: where it can be so, of runners that are not paused. */
  #claim(line: Line, by: Waiting): void {
    const { ask } = line;
    const at = this.#whole(ask);
    if (!at) return;
    const claim: Claim = { by, at, chances: new Set() };
    line.claim = claim;
    this.#claiming.add(line);
    for (const [index, runner] of at.entries()) this.#hold(claim, runner, ask.places[index]?.slots ?? 1);
  }

  #whole(ask: Ask): Runner[] | undefined {
    const [place] = ask.places;
    if (place && ask.places.length === 1) {
      const number =
        this.#rooms.firstOf(place.runners) ?? place.runners.all.find((one) => this.#runners[one]?.state !== "lost");
      return number === undefined ? undefined : [this.#runners[number] as Runner];
    }
    const open = this.#runners.map((runner) => (this.#isOpen(runner) ? runner.slots : 0));
    return this.#assigned(ask, open) ?? this.#assignedOfAll(ask);
  }

  /** The claim's runners, once it has all of them. A place that still waits goes to a runner that has room for it. */
  #claimed(claim: Claim): readonly Runner[] | undefined {
    const { places } = claim.by.line.ask;
    const own = (runner: Runner): number =>
      claim.at.reduce((sum, at, index) => sum + (at === runner ? (places[index]?.slots ?? 1) : 0), 0);
    const hasRoom = (runner: Runner, slots = 0): boolean => this.#room(runner, claim.by) >= own(runner) + slots;
    for (const runner of claim.chances) {
      for (const [index, { slots, fits: isFor }] of places.entries()) {
        const held = claim.at[index] as Runner;
        if (hasRoom(held) || held === runner || !isFor(runner.number) || !hasRoom(runner, slots)) continue;
        this.#letGo(claim, held, slots);
        claim.at[index] = runner;
        this.#hold(claim, runner, slots);
      }
    }
    claim.chances.clear();
    return claim.at.every((runner) => hasRoom(runner)) ? claim.at : undefined;
  }

  #hold(claim: Claim, runner: Runner, slots: number): void {
    runner.holds.push({ claim, slots });
    runner.held += slots;
    this.#changed(runner);
  }

  #letGo(claim: Claim, runner: Runner, slots: number): void {
    const at = runner.holds.findIndex((hold) => hold.claim === claim && hold.slots === slots);
    runner.holds.splice(at, 1);
    runner.held -= slots;
    this.#changed(runner);
    this.#open(runner);
  }

  #giveUpClaim(line: Line): void {
    const { claim } = line;
    if (!claim) return;
    line.claim = undefined;
    this.#claiming.delete(line);
    for (const [index, runner] of claim.at.entries()) this.#letGo(claim, runner, line.ask.places[index]?.slots ?? 1);
  }

  #dropClaimsOn(runner: Runner): void {
    for (const { claim } of [...runner.holds]) {
      this.#giveUpClaim(claim.by.line);
      this.#tryAgain(claim.by.line);
    }
  }

  /** It may have room that somebody waits for. */
  #open(runner: Runner): void {
    if (!this.#isOpen(runner) || runner.free <= 0) return;
    this.#opened.add(runner);
    for (const { claim, ask, number } of this.#claiming) {
      if (!ask.places.some(({ fits: isFor }) => isFor(runner.number))) continue;
      claim?.chances.add(runner);
      this.#untried.set(number, true);
    }
  }

  #tryAgain(line: Line): void {
    this.#blocked.set(line.number, false);
    this.#untried.set(line.number, line.first !== undefined);
  }

  #take(name: JobName, taken: readonly { readonly runner: Runner; readonly slots: number }[]): void {
    this.#taken.set(name, taken);
    for (const { runner, slots } of taken) {
      runner.free -= slots;
      this.#changed(runner);
    }
  }

  #isOpen({ state }: Runner): boolean {
    return state === "open";
  }

  /** Free slots that nobody who comes before that job has a claim on. */
  #room(runner: Runner, by: Waiting): number {
    if (!this.#isOpen(runner)) return 0;
    return runner.holds.reduce((room, { claim, slots }) => (isBefore(claim.by, by) ? room - slots : room), runner.free);
  }

  /** Free slots that nobody has a claim on. */
  #roomOfAll(number: number): number {
    const { free, held } = this.#runners[number] as Runner;
    return free - held;
  }

  #changed(runner: Runner): void {
    this.#rooms.set(runner.number, this.#isOpen(runner));
  }

  #firstOf(line: number): Waiting {
    return (this.#lines[line] as Line).first as Waiting;
  }

  #goesBefore(one: number, other: number): boolean {
    return isBefore(this.#firstOf(one), this.#firstOf(other));
  }

  #lineOf(job: PlanJob): Line {
    const asked = [job.on, ...(job.also ?? []).map(({ on }) => on)].map(selectorKey).join(" ");
    const key = `${job.priority ?? 0} ${asked}`;
    const known = this.#byKey.get(key);
    if (known) return known;
    let ask = this.#asks.get(asked);
    if (!ask) {
      ask = new Ask(job);
      this.#asks.set(asked, ask);
      for (const runner of this.#runners) this.#suit(ask, runner);
      this.#serve(ask);
    }
    const line = new Line(ask, this.#lines.length);
    this.#lines.push(line);
    this.#byKey.set(key, line);
    ask.lines.push(line);
    const runners = new Set(ask.places.flatMap((place) => place.runners.all));
    for (const runner of runners) this.#runners[runner]?.lines.add(line.number);
    return line;
  }

  #suit(ask: Ask, runner: Runner): void {
    const suited = ask.places.filter(({ on }) => fits(on, runner));
    for (const { runners } of suited) runners.add(runner.number);
    if (suited.length > 0) for (const line of ask.lines) runner.lines.add(line.number);
  }

  #serve(ask: Ask): void {
    const [place] = ask.places;
    ask.isServed =
      place && ask.places.length === 1
        ? place.runners.all.some((runner) => this.#runners[runner]?.state !== "lost")
        : this.#assignedOfAll(ask) !== undefined;
  }

  #assignedOfAll(ask: Ask): Runner[] | undefined {
    const left = this.#runners.map(({ state, slots }) => (state === "lost" ? 0 : slots));
    return assign(ask.places, left)?.map((number) => this.#runners[number] as Runner);
  }
}
