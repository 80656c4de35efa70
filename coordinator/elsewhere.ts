// What a recipe's functions and conditions are where they are in another process: that of a sandboxed recipe. The plan has them in
// their place; function-call.ts, condition.ts and sandbox/ know the difference.
import type { Ask } from "./recipe/ask.ts";
import type { CommandStarter } from "./recipe/command-starter.ts";
import type { ConditionContext } from "./recipe/function-step.ts";

/** What a function works with, wherever it runs. */
export interface FunctionHost {
  readonly context: ConditionContext;
  /** Of the job's own place, and of its others in the order of `also`, by their names. */
  readonly starters: readonly CommandStarter[];
  readonly also: readonly string[];
  /** Takes the job's secrets out of a text that people see. */
  readonly hide: (text: string) => string;
  /** Keeps a line of the job's output. */
  readonly store: (bytes: Uint8Array) => Promise<void>;
  readonly ask: Ask;
  /** Aborted once the job is over. */
  readonly over: AbortSignal;
  readonly workspace: string;
  /** The first promise that nobody awaited, and that failed once the function was over. */
  readonly late: (error: unknown) => void;
}

/** A function in another process. */
export interface FunctionElsewhere {
  /** Resolves with what it gave, and rejects with what it threw, once nothing of it is open. */
  drive(host: FunctionHost): Promise<unknown>;
  /** What a fingerprint has of it. */
  toString(): string;
}

export interface NotRun {
  readonly outcome: "skipped" | "failed";
  readonly message: string;
}

/** A condition in another process. */
export interface ConditionElsewhere {
  /** Undefined where the job runs. Never rejects. */
  whyNot(context: ConditionContext): Promise<NotRun | undefined>;
  /** What a fingerprint has of it. */
  toString(): string;
}
