// What `import { job, recipe, sh } from "sortie"` gives.
export type { Ask, AskOptions } from "./ask.ts";
export type { Axes, AxisValue, Cell } from "./cells.ts";
export type { Command, CommandResult } from "./command.ts";
export { CommandError } from "./command-error.ts";
export type { CommandInput } from "./command-input.ts";
export type { ConditionContext, JobContext, JobFunction } from "./function-step.ts";
export {
  type Job,
  type JobOptions,
  job,
  type Matrix,
  type Need,
  type OutputAs,
  type ResultOf,
  type ResultsOf,
} from "./job.ts";
export type { CommandRun, OptionsOfJob, PlaceOfJob, Selection, Step } from "./job-options.ts";
export { type MatrixOptions, matrix } from "./matrix.ts";
export type { NotifyOptions, NotifyOutcome } from "./notify.ts";
export type {
  Argv,
  ContainerOptions,
  Duration,
  HealthOptions,
  LimitOptions,
  MountOptions,
  PlaceOptions,
  Pull,
  ServiceOptions,
  Size,
  SshOptions,
  TmpfsOptions,
} from "./place.ts";
export {
  type Jobs,
  type ParamsOptions,
  type Recipe,
  type RecipeOptions,
  type RecipeWithParams,
  recipe,
} from "./recipe.ts";
export type { JobResult } from "./result.ts";
export type { FailureReason, RetryOptions } from "./retry.ts";
export type { SchemaInput, SchemaIssue, SchemaOutput, SchemaResult, StandardSchema } from "./schema.ts";
export { type Secret, type SecretOptions, type SecretSource, secret } from "./secret.ts";
export { type All, type Any, all, any, type LabelRule, type Not, not } from "./selector.ts";
export { type ShellCommand, type ShellValue, sh } from "./shell.ts";
export type { Shell } from "./shell-function.ts";
export type { StdinOptions } from "./stdin.ts";
export type { Variables } from "./variables.ts";
