// The runners of a run, as far as they take its jobs: a full one is asked again, one that is away is waited for, and one that is
// gone is asked no more. execute.ts has one for the run.
import type { ErrorCode, SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { RunEvent } from "./events.ts";
import type { KnownRunner, RunnerLink } from "./fleet.ts";
import type { Schedule } from "./schedule.ts";
import { fits, type Selector } from "./selectors.ts";

/** A full runner is asked again after this, doubled each time. */
const ASK_AGAIN_MS = 50;
const ASK_AGAIN_MOST_MS = 2_000;

/** Nothing was taken, and it may be within a while: it is away, or cannot put a job on record. */
export const AWAY: readonly ErrorCode[] = [
  "RUNNER_UNREACHABLE",
  "CONNECTION_LOST",
  // A connection that breaks at its beginning looks like one to a runner that trusts no more.
  "UNTRUSTED",
  // A disk that is full keeps it from starting its keeper, or from having a job on record before it runs.
  "KEEPER_FAILED",
  "AUDIT_FAILED",
];

export interface Place {
  readonly runner: RunnerLink;
  /** Why it takes no more jobs of this run. */
  gone?: SortieError;
  /** When it was first found away; a front that is started anew is back within a moment. */
  awaySince?: number | undefined;
  /** Full, by somebody else's jobs, or away: asked again when this timer ends. */
  pause?: NodeJS.Timeout | undefined;
  pauseMs: number;
}

export interface PlacesOptions {
  readonly schedule: Pick<Schedule, "pause" | "resume" | "lose">;
  readonly emit: (event: RunEvent) => void | Promise<void>;
  /** One may take jobs again. */
  readonly changed: () => void;
}

export class Places {
  readonly #places: ReadonlyMap<string, Place & { readonly runner: KnownRunner }>;
  readonly #options: PlacesOptions;

  constructor(runners: readonly KnownRunner[], options: PlacesOptions) {
    this.#places = new Map(runners.map((runner) => [runner.id, { runner, pauseMs: ASK_AGAIN_MS }]));
    this.#options = options;
  }

  get(id: string): Place | undefined {
    return this.#places.get(id);
  }

  /** Also of a runner that the run did not begin with. */
  of(runner: RunnerLink): Place {
    return this.#places.get(runner.id) ?? { runner, pauseMs: ASK_AGAIN_MS };
  }

  /** Why one that would fit is gone. */
  goneFor(on: Selector): SortieError | undefined {
    return [...this.#places.values()].find(({ gone, runner }) => gone && fits(on, runner.info))?.gone;
  }

  /** It took a job. */
  answered(place: Place): void {
    place.pauseMs = ASK_AGAIN_MS;
    place.awaySince = undefined;
  }

  lose(place: Place, error: SortieError): void {
    place.gone ??= error;
    this.#options.schedule.lose(place.runner.id);
  }

  /** It did not take a job, and nothing ran. Whether the job may wait for it, or for another. */
  async refused(place: Place, error: SortieError): Promise<boolean> {
    switch (error.code) {
      case "RUNNER_FULL":
      case "TOO_MANY":
        this.#later(place);
        return true;
      case "RUNNER_DRAINING":
        await this.#tellAway(place, error);
        this.lose(place, error);
        return true;
      default: {
        if (!AWAY.includes(error.code)) return false;
        await this.#tellAway(place, error);
        const mostMs = error.code === "UNTRUSTED" ? limits.untrustedMs : limits.unreachableMs;
        if (performance.now() - (place.awaySince ?? 0) < mostMs) this.#later(place);
        else this.lose(place, error);
        return true;
      }
    }
  }

  close(): void {
    for (const place of this.#places.values()) clearTimeout(place.pause);
  }

  /** It is asked again after a pause; another one that fits may be faster. */
  #later(place: Place): void {
    const { schedule, changed } = this.#options;
    schedule.pause(place.runner.id);
    place.pause ??= setTimeout(() => {
      place.pause = undefined;
      schedule.resume(place.runner.id);
      changed();
    }, place.pauseMs);
    place.pauseMs = Math.min(place.pauseMs * 2, ASK_AGAIN_MOST_MS);
  }

  /** Once. */
  async #tellAway(place: Place, { message, hint }: SortieError): Promise<void> {
    if (place.gone || place.awaySince !== undefined) return;
    place.awaySince = performance.now();
    const runner = place.runner.name;
    await this.#options.emit({ type: "runner-unreachable", at: Date.now(), runner, message: `${message} ${hint}` });
  }
}
