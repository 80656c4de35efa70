// A planned job as data, between a sandboxed recipe's process and the coordinator: what the one makes of its plan, and the schema by
// which the other takes it. A function, a condition and a schema stay in that process; here they are only said to be there.
import { createHash } from "node:crypto";
import * as v from "valibot";
import { Environment, Step, VariableName } from "../../protocol/command.ts";
import { SecretName } from "../../protocol/delivered-secret.ts";
import { JobName } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { JobRequest, LabelName, LabelValue, RunnerName } from "../../protocol/messages.ts";
import { AbsolutePath, Count, PositiveInteger, Text } from "../../protocol/primitives.ts";
import type { PlanJob } from "../plan-job.ts";
import { isWebAddress, type Notify } from "../recipe/notify.ts";
import type { SecretSource as SecretSourceOfRecipe } from "../recipe/secret.ts";
import type { LabelRule as Rule } from "../recipe/selector.ts";

/** Of a record, names that an object has without being given them. */
const own = (name: string): boolean => !(name in Object.prototype);

/** The SHA-256 of a function's text: a fingerprint needs no more of it. */
const Digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

const LabelRule: v.GenericSchema<Rule> = v.union([
  LabelValue,
  v.boolean(),
  v.array(v.lazy(() => LabelRule)),
  v.strictObject({ not: v.lazy(() => LabelRule) }),
  v.strictObject({ any: v.array(v.lazy(() => LabelRule)) }),
  v.strictObject({ all: v.array(v.lazy(() => LabelRule)) }),
]);

const Selector = v.strictObject({
  runner: v.optional(RunnerName),
  labels: v.record(v.pipe(LabelName, v.check(own, "a label's name")), LabelRule),
  slots: v.optional(v.pipe(PositiveInteger, v.maxValue(limits.slots))),
});

/** A file is read, and a program run, outside of the sandbox: admit.ts says whether. */
const SecretSource = v.union([
  v.strictObject({ env: VariableName }),
  v.strictObject({ file: v.pipe(Text, v.minLength(1)) }),
  v.strictObject({ command: v.pipe(v.array(Text), v.minLength(1)) }),
]);
export type WireSecretSource = v.InferOutput<typeof SecretSource>;

const Secret = v.strictObject({
  name: SecretName,
  from: SecretName,
  source: SecretSource,
  as: v.picklist(["env", "file", "stdin"]),
  service: v.optional(v.string()),
});

const outcome = v.picklist(["passed", "failed", "cancelled", "lost", "skipped"]);
const on = v.pipe(v.array(outcome), v.minLength(1), v.maxLength(10));
/** A secret by its source: its mark is no JSON. */
export const WireNotify = v.union([
  v.strictObject({ on, command: v.pipe(v.array(Text), v.minLength(1)) }),
  v.strictObject({
    on,
    url: v.pipe(
      v.string(),
      v.check((url) => isWebAddress(url), "an address"),
    ),
  }),
  v.strictObject({ on, secretUrl: SecretSource }),
]);
export type WireNotify = v.InferOutput<typeof WireNotify>;

export const SeenNeed = v.union([JobName, v.record(v.pipe(v.string(), v.check(own)), JobName)]);

const Milliseconds = v.pipe(PositiveInteger, v.maxValue(limits.timeoutMaximumMs));
const Globs = v.pipe(v.array(Text), v.maxLength(limits.inputsPerJob));
const { container, ssh, user, limits: limited, nice, umask, graceMs, leaseMs } = JobRequest.entries;
const place = { container, ssh, user, limits: limited, nice, umask };
const Location = v.strictObject({ file: AbsolutePath, line: PositiveInteger });

const entries = {
  ...place,
  name: JobName,
  needs: v.pipe(v.array(JobName), v.maxLength(limits.sandboxJobs)),
  on: Selector,
  steps: v.pipe(v.array(Step), v.maxLength(limits.stepsPerJob)),
  env: Environment,
  secrets: v.optional(v.pipe(v.array(Secret), v.maxLength(limits.secretsPerJob))),
  stdin: v.optional(
    v.union([
      v.pipe(v.string(), v.maxBytes(limits.stdinTextBytes)),
      v.strictObject({ file: AbsolutePath }),
      v.strictObject({ secret: SecretName }),
    ]),
  ),
  notify: v.optional(v.pipe(v.array(WireNotify), v.maxLength(limits.notifiesEach))),
  outputs: v.optional(v.record(v.pipe(v.string(), v.check(own)), Globs)),
  cwd: v.optional(AbsolutePath),
  timeoutMs: v.optional(Milliseconds),
  queueMs: v.optional(Milliseconds),
  group: v.optional(
    v.strictObject({
      name: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}$/)),
      limit: v.pipe(PositiveInteger, v.maxValue(limits.slots)),
      cancelsOlder: v.optional(v.literal(true)),
    }),
  ),
  graceMs,
  leaseMs,
  retry: v.optional(
    v.strictObject({
      count: v.pipe(Count, v.maxValue(limits.retries)),
      backoffMs: v.pipe(Count, v.maxValue(limits.timeoutMaximumMs)),
      on: v.optional(
        v.strictObject({
          codes: v.pipe(v.array(v.pipe(PositiveInteger, v.maxValue(255))), v.maxLength(255)),
          reasons: v.pipe(
            v.array(v.picklist(["exited", "signaled", "out-of-memory", "timeout", "failed-to-start"])),
            v.maxLength(5),
          ),
        }),
      ),
    }),
  ),
  allowFailure: v.optional(v.literal(true)),
  always: v.optional(v.literal(true)),
  priority: v.optional(v.pipe(v.number(), v.finite())),
  inputs: v.optional(Globs),
  drive: v.optional(Digest),
  condition: v.optional(Digest),
  sees: v.optional(v.pipe(v.array(SeenNeed), v.maxLength(limits.sandboxJobs))),
  output: v.optional(v.picklist(["text", "lines", "json", "schema"])),
  also: v.optional(
    v.pipe(
      v.array(
        v.strictObject({
          ...place,
          name: v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]{0,30}$/), v.check(own)),
          on: Selector,
          env: Environment,
          secrets: v.optional(v.pipe(v.array(Secret), v.maxLength(limits.secretsPerJob))),
          cwd: v.optional(AbsolutePath),
        }),
      ),
      v.maxLength(limits.placesPerJob - 1),
    ),
  ),
  at: v.optional(Location),
  // A field of the plan that is not named here would be refused when a recipe has it, and is missed by the compiler before that.
} satisfies Record<keyof PlanJob, v.GenericSchema>;

/** What goes together. */
export const WireJob = v.pipe(
  v.strictObject(entries),
  v.check(({ drive, steps }) => (steps.length === 0) === (drive !== undefined), "a function, or steps"),
  v.check(({ drive, also }) => drive !== undefined || also === undefined, "other places with a function"),
  v.check(({ drive, output }) => drive === undefined || output === undefined, "an output of commands"),
  v.check(({ stdin, steps }) => stdin === undefined || steps.length === 1, "a stdin of one command"),
);
export type WireJob = v.InferOutput<typeof WireJob>;

/** In the recipe's process. */
export const toWire = ({ drive, condition, output, notify, ...rest }: PlanJob): object => ({
  ...rest,
  ...(drive ? { drive: digestOf(drive) } : {}),
  ...(condition ? { condition: digestOf(condition) } : {}),
  ...(output === undefined ? {} : { output: typeof output === "string" ? output : "schema" }),
  ...(notify ? { notify: notify.map(notifyToWire) } : {}),
});

export const notifyToWire = (one: Notify): WireNotify => {
  const on = [...one.on];
  if ("command" in one) return { on, command: [...one.command] };
  return typeof one.url === "string" ? { on, url: one.url } : { on, secretUrl: wireSource(one.url.source) };
};

const wireSource = (source: SecretSourceOfRecipe): WireSecretSource =>
  "command" in source ? { command: [...source.command] } : source;

const digestOf = (code: object): string => createHash("sha256").update(String(code)).digest("hex");
