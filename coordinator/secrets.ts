// The values of a run's secrets: read once a run, before its jobs, by what their recipe says, and held in this process's
// memory. A value joins what a job's runner is asked for, and nothing else. run.ts opens them.
import { open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type DeliveredSecret, whyNoSecret } from "../protocol/delivered-secret.ts";
import { SortieError } from "../protocol/errors.ts";
import { lastBytes } from "../protocol/last-bytes.ts";
import { limits } from "../protocol/limits.ts";
import { formsBytes, type Redaction, redactionOf } from "../protocol/redact.ts";
import { oneLine } from "../protocol/text.ts";
import { awaitAlone } from "./command-alone.ts";
import type { PlanJob } from "./plan.ts";
import type { PlanSecret } from "./recipe/plan-secret.ts";
import { isSecret, labelOf, type SecretSource } from "./recipe/secret.ts";

/** A job of a plan, or the run's own notifications. */
export type Asking = Pick<PlanJob, "secrets" | "also" | "at" | "notify"> & { readonly name: string };

export interface Secrets {
  /** Reads what these ask for and was not read yet. Rejects with SECRET_MISSING or SECRET_INVALID. */
  read(jobs: readonly Asking[]): Promise<void>;
  /** What was read; undefined where it was not. */
  value(source: SecretSource): string | undefined;
  /** What the runner of the job is to have of it, in the job's own place. */
  deliveredTo(job: Pick<PlanJob, "secrets">): DeliveredSecret[];
  /** All that was read. May grow. */
  readonly values: ReadonlySet<string>;
  /** Takes all of it out of what is told; undefined where there is nothing. */
  readonly redaction: Redaction | undefined;
}

/** `recipe`: its file. Commands are run in its folder. */
export function openSecrets(
  recipe: string,
  environment: NodeJS.ProcessEnv = process.env,
  cancelled?: AbortSignal,
): Secrets {
  const known = new Map<string, string>();
  const values = new Set<string>();
  /** Bytes of what is looked for of each. */
  const forms = new Map<string, number>();
  let redaction: { readonly of: number; readonly value: Redaction | undefined } | undefined;
  const valueFrom = (source: SecretSource): string | undefined => known.get(JSON.stringify(source));

  function current(): Redaction | undefined {
    if (redaction?.of !== values.size) redaction = { of: values.size, value: redactionOf(values) };
    return redaction.value;
  }

  async function readOne(asked: Asked, job: Asking): Promise<void> {
    const { source, label } = asked;
    if (valueFrom(source) !== undefined) return;
    const fail = (code: "SECRET_MISSING" | "SECRET_INVALID", why: string): SortieError =>
      new SortieError(code, `${job.name} asks for the secret ${label}, ${why}.`, job.at ? { at: job.at } : {});
    const read = await readSource(source, { folder: dirname(recipe), environment, cancelled });
    // What a command says may have another one.
    if ("missing" in read) throw fail("SECRET_MISSING", current()?.text(read.missing) ?? read.missing);
    const why = "invalid" in read ? read.invalid : whyNoSecret(read.value);
    if (why !== undefined || "invalid" in read) throw fail("SECRET_INVALID", `which ${why}`);
    const size = formsBytes(read.value);
    const others = [...forms].reduce((sum, [value, bytes]) => sum + (value === read.value ? 0 : bytes), 0);
    if (others + size > limits.runSecretFormsBytes)
      throw fail("SECRET_INVALID", "which with the others of this run is too much to be kept out of what it shows");
    known.set(JSON.stringify(source), read.value);
    values.add(read.value);
    forms.set(read.value, size);
  }

  function checkSize(place: readonly PlanSecret[], job: Asking): void {
    const read = place.map(({ source }) => valueFrom(source) ?? "");
    const sum = (of: (value: string) => number): number => read.reduce((all, value) => all + of(value), 0);
    const bytes = sum(Buffer.byteLength);
    const tooMuch = (why: string): SortieError =>
      new SortieError("SECRET_INVALID", `${job.name} asks for secrets ${why}.`, job.at ? { at: job.at } : {});
    if (bytes > limits.secretsBytes)
      throw tooMuch(`of ${bytes} bytes together, and ${limits.secretsBytes} can be kept out of what it prints`);
    if (sum((value) => forms.get(value) ?? 0) > limits.secretFormsBytes)
      throw tooMuch("of too many lines or special characters to be kept out of what it prints");
  }

  return {
    async read(jobs) {
      // One after the other: a command may ask a person something.
      for (const job of jobs) {
        for (const asked of askedBy(job)) await readOne(asked, job);
        for (const place of [job, ...(job.also ?? [])]) checkSize(place.secrets ?? [], job);
      }
      for (const job of jobs) checkName(job, current());
    },
    value: valueFrom,
    deliveredTo: ({ secrets = [] }) =>
      secrets.map(({ as, from, name: variable, source, service }): DeliveredSecret => {
        const value = valueFrom(source);
        if (value === undefined) throw new RangeError(`the secret ${from} was not read`);
        if (as !== "env") return { as, name: from, value };
        return { as, name: from, value, variable, ...(service === undefined ? {} : { service }) };
      }),
    values,
    get redaction() {
      return current();
    },
  };
}

interface Asked {
  readonly source: SecretSource;
  readonly label: string;
}

const askedBy = ({ secrets = [], also = [], notify = [] }: Asking): Asked[] => [
  ...[secrets, ...also.map((place) => place.secrets ?? [])]
    .flat()
    .map(({ source, from: label }) => ({ source, label })),
  ...notify.flatMap((one) =>
    "url" in one && isSecret(one.url) ? [{ source: one.url.source, label: labelOf(one.url) }] : [],
  ),
];

/** A name is in every record, and in every view. */
function checkName({ name, at }: Asking, redaction: Redaction | undefined): void {
  const shown = redaction?.text(name) ?? name;
  if (shown !== name)
    throw new SortieError("SECRET_INVALID", `The name of the job ${shown} holds the value of a secret.`, {
      hint: "Give the job another name.",
      ...(at ? { at } : {}),
    });
}

type Read = { readonly value: string } | { readonly missing: string } | { readonly invalid: string };

interface Where {
  readonly folder: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly cancelled: AbortSignal | undefined;
}

async function readSource(source: SecretSource, where: Where): Promise<Read> {
  if ("env" in source) {
    const value = where.environment[source.env];
    // One that is empty is what CI services make of a secret that they do not have.
    if (!value) return { missing: `which is ${value === undefined ? "not set" : "empty"} here` };
    // What Node makes of bytes that are no UTF-8: a job would get another value than the one that is set.
    return value.includes("\ufffd") ? { invalid: "is no text in UTF-8" } : { value };
  }
  const read =
    "file" in source ? await readFile(resolve(where.folder, source.file)) : await runCommand(source.command, where);
  if (!("bytes" in read)) return read;
  if (read.bytes.length === 0) return { missing: "which is empty" };
  if (read.bytes.length > limits.secretBytes) return { invalid: `is longer than ${limits.secretBytes} bytes` };
  try {
    return { value: withoutNewline(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(read.bytes)) };
  } catch {
    return { invalid: "is no text in UTF-8" };
  }
}

/** Of one line. A key of several is none without its last newline. */
const withoutNewline = (text: string): string => (/^[^\n]*\n$/.test(text) ? text.replace(/\r?\n$/, "") : text);

type ReadBytes = { readonly bytes: Uint8Array } | { readonly missing: string };

async function readFile(path: string): Promise<ReadBytes> {
  try {
    await using file = await open(path);
    const bytes = Buffer.alloc(limits.secretBytes + 1);
    let length = 0;
    for (let read = 1; read > 0 && length < bytes.length; length += read)
      read = (await file.read(bytes, length, bytes.length - length)).bytesRead;
    return { bytes: bytes.subarray(0, length) };
  } catch (error) {
    return { missing: `whose file ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? "an error"})` };
  }
}

async function runCommand(
  [program, ...args]: readonly [string, ...string[]],
  { folder, environment, cancelled }: Where,
): Promise<ReadBytes> {
  const { execa } = await import("execa");
  const child = execa(program, args, {
    cwd: folder,
    env: environment,
    extendEnv: false,
    stdin: "ignore",
    encoding: "buffer",
    stripFinalNewline: false,
    maxBuffer: limits.secretBytes + 1,
    // However much it says there, it is the value that counts.
    buffer: { stderr: false },
    timeout: limits.secretCommandMs,
    forceKillAfterDelay: limits.closeMs,
    reject: false,
    ...(cancelled ? { cancelSignal: cancelled } : {}),
  });
  let saying: Uint8Array = Buffer.of();
  child.stderr.on("data", (bytes: Uint8Array) => {
    saying = lastBytes(saying, bytes, limits.secretBytes);
  });
  // It has no group of its own to be killed with, which could ask nothing at the terminal.
  awaitAlone(child, [child.stdout, child.stderr]);
  const result = await child;
  const { exitCode, stdout, timedOut, isMaxBuffer, isCanceled } = result;
  if (isCanceled) throw new SortieError("INTERRUPTED", "Interrupted while a secret was read.");
  if (exitCode === 0 || (isMaxBuffer && stdout.length > limits.secretBytes)) return { bytes: stdout };
  const how = timedOut
    ? `did not end within ${limits.secretCommandMs / 1_000} s`
    : exitCode !== undefined
      ? `failed: exit ${exitCode}`
      : `failed: ${result.signal ?? (result.cause as NodeJS.ErrnoException | undefined)?.code ?? "it did not start"}`;
  // What it printed may be the value, or a part; whoever prints that to stderr too is not quoted.
  const printed = Buffer.from(stdout).toString().trim();
  const said = Buffer.from(saying).toString().trim().split("\n").at(-1) ?? "";
  // One that was cut may begin within a value.
  const quotable = said !== "" && said.length < limits.secretBytes && !(printed !== "" && said.includes(printed));
  return {
    missing: `whose command ${program} ${how}${quotable ? `: ${oneLine(redactionOf([printed])?.text(said) ?? said)}` : ""}`,
  };
}

/** Of what has none. */
export const noSecrets = (): Secrets => openSecrets("", {});
