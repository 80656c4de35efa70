// recipe -> graph of jobs. Pure: no I/O, no clock.
import type { JobName } from "../protocol/ids.ts";
import type { Command, Environment, Labels } from "../protocol/messages.ts";

/** What a job asks of the runner it runs on: by name, or by labels that all must be equal. Empty fits every runner. */
export interface Selector {
  readonly runner?: string;
  readonly labels: Labels;
}

/** One job, ready to be scheduled and dispatched: everything checked, everything in wire form. */
export interface PlanJob {
  readonly name: JobName;
  readonly needs: readonly JobName[];
  readonly on: Selector;
  readonly steps: readonly Command[];
  readonly env: Environment;
  readonly cwd?: string;
  readonly timeoutMs?: number;
  readonly graceMs: number;
}

/** Jobs in an order in which every job stands after those it needs. */
export interface Plan {
  readonly recipe: string;
  readonly jobs: readonly PlanJob[];
}
