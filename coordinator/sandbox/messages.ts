// What a sandboxed recipe's process and the coordinator say to each other. What that process says is checked here, once, as it comes:
// it is the recipe's, and may say anything. What the coordinator says it does not need to check.
import * as v from "valibot";
import { Command, Environment } from "../../protocol/command.ts";
import { Exit, SignalName } from "../../protocol/exit.ts";
import type { JobName } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { Count, PositiveInteger, Text } from "../../protocol/primitives.ts";
import { GivenParam } from "../given-params.ts";
import type { JobResult } from "../recipe/result.ts";
import { SeenNeed, WireJob, WireNotify } from "./wire-job.ts";

const Id = Count;
const Words = v.pipe(v.string(), v.maxLength(limits.sandboxWordsCharacters));
const Bytes = v.pipe(v.string(), v.maxLength(Math.ceil(limits.sandboxPieceBytes / 3) * 4), v.base64());
const Stream = v.picklist(["stdout", "stderr"]);
const Place = v.strictObject({ file: v.string(), line: PositiveInteger, column: v.optional(PositiveInteger) });

/** What Node's permission model refused: the permission in its words, and of what. */
const Refused = v.strictObject({ permission: Words, resource: Words });
export type Refused = v.InferOutput<typeof Refused>;

/** What a function, or loading the recipe, failed with. */
export const Failure = v.variant("kind", [
  v.strictObject({
    kind: v.literal("coded"),
    code: v.string(),
    message: Words,
    hint: Words,
    at: v.optional(Place),
  }),
  v.strictObject({ kind: v.literal("refused"), refused: Refused, at: v.optional(Place) }),
  v.strictObject({ kind: v.literal("command"), message: Words, exit: Exit }),
  v.strictObject({ kind: v.literal("told"), message: Words }),
]);
export type Failure = v.InferOutput<typeof Failure>;

const Issue = v.strictObject({ message: Words, path: v.optional(v.array(v.string())) });

/** Of what a function came to: a value of JSON, or jobs that join the run. */
export const Returned = v.variant("kind", [
  v.strictObject({ kind: v.literal("value"), value: v.optional(v.unknown()), problem: v.optional(Words) }),
  v.strictObject({
    kind: v.literal("jobs"),
    jobs: v.pipe(v.array(WireJob), v.maxLength(limits.sandboxJobs)),
    given: v.record(v.string(), SeenNeed),
  }),
  v.strictObject({ kind: v.literal("failed"), failure: Failure }),
]);

/** A param of the recipe, as `--help` tells it. */
const Field = v.strictObject({
  key: Words,
  type: v.optional(Words),
  default: v.optional(v.unknown()),
  description: v.optional(Words),
  required: v.optional(v.boolean()),
});

/** From the recipe's process. */
export const FromRecipe = v.variant("type", [
  // While it is loaded.
  v.strictObject({ type: v.literal("job"), job: WireJob }),
  v.strictObject({
    type: v.literal("planned"),
    notify: v.pipe(v.array(WireNotify), v.maxLength(limits.notifiesEach)),
    params: v.optional(v.array(GivenParam)),
  }),
  v.strictObject({
    type: v.literal("described"),
    takesParams: v.boolean(),
    fields: v.optional(v.array(Field)),
    variables: v.record(v.string(), v.string()),
  }),
  v.strictObject({ type: v.literal("failed"), failure: Failure }),
  // Answers to what it was asked: whether a job runs, whether a value fits a schema.
  v.strictObject({
    type: v.literal("answer"),
    id: Id,
    answer: v.variant("kind", [
      v.strictObject({ kind: v.literal("runs") }),
      v.strictObject({ kind: v.literal("skipped"), outcome: v.picklist(["skipped", "failed"]), message: Words }),
      v.strictObject({ kind: v.literal("fits"), value: v.optional(v.unknown()) }),
      v.strictObject({ kind: v.literal("wrong"), issues: v.pipe(v.array(Issue), v.minLength(1), v.maxLength(100)) }),
    ]),
  }),
  // Of a function that was called.
  v.strictObject({ type: v.literal("returned"), call: Id, returned: Returned }),
  v.strictObject({ type: v.literal("log"), call: Id, id: Id, bytes: Bytes }),
  v.strictObject({ type: v.literal("ask"), call: Id, id: Id, question: Words, checks: v.boolean() }),
  v.strictObject({ type: v.literal("late"), call: Id, failure: Failure }),
  v.strictObject({
    type: v.literal("start"),
    call: Id,
    command: Id,
    place: Count,
    spec: v.strictObject({
      command: Command,
      env: Environment,
      cwd: v.optional(v.pipe(Text, v.minLength(1))),
      timeoutMs: v.optional(v.pipe(PositiveInteger, v.maxValue(limits.timeoutMaximumMs))),
      stdin: v.boolean(),
      stdout: v.picklist(["shown", "logged", "passed"]),
      stderr: v.picklist(["shown", "logged"]),
      noted: v.boolean(),
    }),
  }),
  v.strictObject({ type: v.literal("signal"), command: Id, name: SignalName }),
  v.strictObject({ type: v.literal("cancel"), command: Id }),
  v.strictObject({ type: v.literal("took"), command: Id, stream: Stream }),
  v.strictObject({
    type: v.literal("stdin"),
    command: Id,
    bytes: v.optional(Bytes),
    isLast: v.optional(v.literal(true)),
  }),
]);
export type FromRecipe = v.InferOutput<typeof FromRecipe>;

/** Of those that name a command. */
export type FromCommand = Extract<FromRecipe, { command: number }>;

/** What a failure is where it comes from the coordinator: an error's parts. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** To the recipe's process. */
export type ToRecipe =
  | {
      readonly type: "load";
      readonly what: "plan" | "describe";
      readonly file: string;
      readonly source: string;
      readonly code: string;
      /** The address of what it imports as "sortie". */
      readonly sdk: string;
      readonly params: readonly GivenParam[];
      /** Variables that it sees. */
      readonly env: Readonly<Record<string, string>>;
      /** Whether params that were not given are looked for there. */
      readonly takesEnv: boolean;
    }
  | { readonly type: "condition"; readonly id: number; readonly job: JobName; readonly needs: readonly unknown[] }
  | { readonly type: "fits"; readonly id: number; readonly job: JobName; readonly value: unknown }
  | { readonly type: "answer-fits"; readonly id: number; readonly ask: number; readonly text: string }
  | {
      readonly type: "call";
      readonly call: number;
      readonly job: JobName;
      readonly needs: readonly (JobResult | unknown)[];
      readonly workspace: string;
    }
  | { readonly type: "joined"; readonly call: number }
  | { readonly type: "over"; readonly call: number; readonly error: WireError }
  | { readonly type: "logged"; readonly id: number; readonly error?: WireError }
  | { readonly type: "answered"; readonly id: number; readonly text?: string; readonly error?: WireError }
  | {
      readonly type: "output";
      readonly command: number;
      readonly stream: "stdout" | "stderr";
      readonly bytes: string;
    }
  | { readonly type: "pull"; readonly command: number }
  | { readonly type: "left"; readonly command: number }
  | { readonly type: "ended"; readonly command: number; readonly exit?: Exit; readonly error?: WireError };
