// A command that a function starts on its job's runner, and the ways to read what it writes. `$` makes it: see
// shell-function.ts.

import type { Command as CommandText } from "../../protocol/command.ts";
import { parseDuration } from "../../protocol/duration.ts";
import { SortieError } from "../../protocol/errors.ts";
import { type Exit, passed, type SignalName } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import { quote } from "../../protocol/quote.ts";
import { oneLine } from "../../protocol/text.ts";
import { CommandError } from "./command-error.ts";
import { bytesOf, type CommandInput } from "./command-input.ts";
import type { CommandSpec, CommandStarter, StartedCommand } from "./command-starter.ts";
import { Handoff } from "./handoff.ts";
import type { Location } from "./location.ts";
import type { Duration } from "./place.ts";
import type { SchemaOutput, StandardSchema } from "./schema.ts";

/** Of what a command wrote to its standard error. */
const TAIL_BYTES = 4 * 1024;
/** Of a command, in messages. */
const SHOWN_CHARACTERS = 100;

/** How a command came out. */
export interface CommandResult {
  /** Null where it was ended by a signal. */
  readonly code: number | null;
  /** All that is known of its end. */
  readonly exit: Exit;
  /** From its start, asked of the runner, to its exit; milliseconds. */
  readonly durationMs: number;
  /** The end of what it wrote to its standard error, at most 4 KiB. */
  readonly stderr: string;
  /** Of the commands before it in its pipe, the first one first. */
  readonly piped: readonly CommandResult[];
}

/** @internal What `$` knows when it makes a command. */
export interface CommandOrigin {
  readonly starter: CommandStarter;
  readonly command: CommandText;
  readonly location: Location | undefined;
}

/**
 * A command of a function. It starts by itself, once what follows it in the same expression was applied; awaiting it gives
 * how it came out, and throws a CommandError where it did not exit 0. A function is not over before all its commands are.
 */
export class Command implements PromiseLike<CommandResult> {
  readonly #origin: CommandOrigin;
  #env: Readonly<Record<string, string>> = {};
  #cwd: string | undefined;
  #timeoutMs: number | undefined;
  #stdin: AsyncIterable<Uint8Array> | undefined;
  #throws = true;
  #quiet = false;
  #signals: SignalName[] = [];
  #sources: readonly Command[] = [];
  #started: StartedCommand | undefined;
  #over = false;
  /** It was ended because the one that it is piped into had ended: no failure of its own. */
  #cutOff = false;
  #stderr = Buffer.alloc(0);
  /** How it came out, whatever that is; rejects where it was lost. */
  #end: Promise<CommandResult> | undefined;
  /** Whether somebody hears of its failure. */
  #heard = false;

  /** @internal */
  constructor(origin: CommandOrigin) {
    this.#origin = origin;
  }

  /**
   * Its standard output as text, without the newline at its end; at most 16 MiB. It is logged, and not shown.
   * @example const version = await $`git describe --tags`.text();
   */
  async text(): Promise<string> {
    return (await this.bytes()).toString("utf8").replace(/\r?\n$/, "");
  }

  /** Its standard output as it is; at most 16 MiB. It is logged, and not shown. */
  async bytes(): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    this.#heard = true;
    const end = this.#start("logged", (bytes) => {
      length += bytes.length;
      if (length <= limits.collectedBytes) pieces.push(Uint8Array.from(bytes));
      else this.#started?.cancel();
    });
    await end;
    if (length > limits.collectedBytes)
      throw new SortieError(
        "OUTPUT_TOO_LONG",
        `${this.#shown()} wrote more than ${limits.collectedBytes / 1024 / 1024} MiB, which is too much to be collected.`,
      );
    await this.#result();
    return Buffer.concat(pieces);
  }

  /**
   * Its standard output, parsed as JSON, and checked by a schema of any library that follows Standard Schema.
   * @example const { name } = await $`cat package.json`.json(v.object({ name: v.string() }));
   */
  json<Schema extends StandardSchema>(schema: Schema): Promise<SchemaOutput<Schema>>;
  json(): Promise<unknown>;
  async json(schema?: StandardSchema): Promise<unknown> {
    const text = await this.text();
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      throw new TypeError(`${this.#shown()} did not write JSON: ${(error as Error).message}`);
    }
    if (!schema) return json;
    const checked = await schema["~standard"].validate(json);
    if (!checked.issues) return checked.value;
    const [issue] = checked.issues;
    const path = (issue?.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
    throw new TypeError(
      `${this.#shown()} wrote what its schema does not take: ${path ? `${path}: ` : ""}${issue?.message}`,
    );
  }

  /**
   * Its standard output line by line, without their ends, as they come: the command is slowed down to the speed at which
   * they are taken. Leaving the loop ends it. A line is at most 16 MiB. They are logged, and not shown.
   * @example for await (const line of $`tail -f log`.lines()) if (line.includes("ready")) break;
   */
  lines(): AsyncGenerator<string, void, undefined> {
    const handoff = new Handoff();
    this.#heard = true;
    const end = this.#start("logged", (bytes) => handoff.push(bytes));
    end.then(
      () => handoff.end(),
      (error: unknown) => handoff.end({ error }),
    );
    return this.#linesOf(handoff, end);
  }

  async *#linesOf(handoff: Handoff, end: Promise<CommandResult>): AsyncGenerator<string, void, undefined> {
    const decoder = new TextDecoder();
    let rest = "";
    let whole = false;
    try {
      for await (const bytes of handoff) {
        const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
        rest = parts.pop() ?? "";
        if (rest.length > limits.collectedBytes)
          throw new SortieError("OUTPUT_TOO_LONG", `${this.#shown()} wrote a line of more than 16 MiB.`);
        for (const line of parts) yield line.replace(/\r$/, "");
      }
      rest += decoder.decode();
      if (rest !== "") yield rest.replace(/\r$/, "");
      whole = true;
    } finally {
      if (!whole) {
        this.#started?.cancel();
        await end.catch(() => {});
      }
    }
    await this.#result();
  }

  /**
   * Gives its standard output to another command, of this `$` or of one at another runner, no faster than that takes it.
   * Gives the other, whose result has this one's in `piped`; awaiting it throws where any of them failed. When the other
   * ends first, this one is ended; when this one is lost, the other is ended before it could take half an input for a whole.
   * @example await also.source`pg_dump app`.pipe($`psql app`);
   */
  pipe(other: Command): Command {
    other.#change("pipe");
    if (other.#stdin) throw new TypeError(`${other.#shown()} has a standard input already.`);
    const handoff = new Handoff();
    other.#stdin = handoff;
    other.#sources = [...this.#sources, this];
    this.#heard = true;
    const end = this.#start("passed", (bytes) => handoff.push(bytes));
    end.then(
      // Half an input must not look like a whole one: only the end of a command that ended by itself is an end.
      ({ exit }) => {
        if (exit.reason === "exited" || this.#cutOff) handoff.end();
        else other.kill();
      },
      () => {
        other.kill();
      },
    );
    other.#whenOver(() => {
      if (this.#over) return;
      this.#cutOff = true;
      this.kill();
    });
    return other;
  }

  /** Awaiting it does not throw when it does not exit 0. */
  nothrow(): this {
    this.#change("nothrow");
    this.#throws = false;
    return this;
  }

  /** Neither the command nor what it writes is shown; it is logged. */
  quiet(): this {
    this.#change("quiet");
    this.#quiet = true;
    return this;
  }

  /** The time it has; then it is ended, and its exit says `timeout`. Default: what is left of the job's. */
  timeout(time: Duration): this {
    this.#change("timeout");
    const ms = parseDuration(time);
    if (!ms) throw new TypeError(`.timeout() takes milliseconds or a duration such as "90s", not ${String(time)}.`);
    this.#timeoutMs = ms;
    return this;
  }

  /** Adds variables to those of the job. */
  env(variables: Readonly<Record<string, string>>): this {
    this.#change("env");
    for (const [name, value] of Object.entries(variables))
      if (typeof value !== "string") throw new TypeError(`.env() has ${name}, which is no text but ${typeof value}.`);
    this.#env = { ...this.#env, ...variables };
    return this;
  }

  /** Where it runs: absolute, or below the directory of the job. */
  cwd(path: string): this {
    this.#change("cwd");
    this.#cwd = path;
    return this;
  }

  /** What it reads. Default: nothing. */
  stdin(input: CommandInput): this {
    this.#change("stdin");
    if (this.#stdin) throw new TypeError(`${this.#shown()} has a standard input already.`);
    this.#stdin = bytesOf(input);
    return this;
  }

  /** Sends a signal to its whole process tree. */
  signal(name: SignalName): this {
    if (this.#started) this.#started.signal(name);
    else if (this.#signals.length < MOST_SIGNALS) this.#signals.push(name);
    return this;
  }

  /** Ends it: TERM to its whole process tree, and KILL after the job's grace. */
  kill(): this {
    if (!this.#over) {
      if (!this.#started) this.start();
      this.#started?.cancel();
    }
    return this;
  }

  // biome-ignore lint/suspicious/noThenProperty: a command is awaited as it stands.
  then<Then = CommandResult, Else = never>(
    onDone?: ((result: CommandResult) => Then | PromiseLike<Then>) | null,
    onFailed?: ((error: unknown) => Else | PromiseLike<Else>) | null,
  ): Promise<Then | Else> {
    this.#heard = true;
    return this.#result().then(onDone, onFailed);
  }

  /** @internal Starts it, where it has not been: what it writes is shown. */
  start(): void {
    if (!this.#end) void this.#start(this.#quiet ? "logged" : "shown", undefined);
  }

  /** @internal Resolves once it is over. Rejects where it failed and nobody heard of it. */
  async settled(): Promise<void> {
    this.start();
    if (this.#heard) await this.#end?.catch(() => {});
    else await this.#result();
  }

  async #result(): Promise<CommandResult> {
    this.start();
    const sources = await Promise.allSettled(this.#sources.map(async (source) => source.#end));
    // What was lost comes first: how the others ended follows from it.
    for (const source of sources) if (source.status === "rejected") throw source.reason;
    const own = (await this.#end) as CommandResult;
    const piped = sources.map((source) => (source as PromiseFulfilledResult<CommandResult>).value);
    for (const [index, source] of this.#sources.entries()) source.#check(piped[index] as CommandResult);
    this.#check(own);
    return { ...own, piped };
  }

  #check({ exit }: CommandResult): void {
    if (!this.#throws || this.#cutOff || passed(exit)) return;
    throw new CommandError(this.#shown(), exit, this.#stderr.toString(), this.#origin.location);
  }

  #start(
    stdout: CommandSpec["stdout"],
    take: ((bytes: Uint8Array) => Promise<void> | void) | undefined,
  ): Promise<CommandResult> {
    if (this.#end) throw new TypeError(`${this.#shown()} has started: say how it is read where it is written.`);
    const { starter, command } = this.#origin;
    const startedAt = performance.now();
    this.#started = starter.start(
      {
        command,
        env: this.#env,
        ...(this.#cwd === undefined ? {} : { cwd: this.#cwd }),
        ...(this.#timeoutMs === undefined ? {} : { timeoutMs: this.#timeoutMs }),
        ...(this.#stdin ? { stdin: this.#stdin } : {}),
        stdout: this.#quiet && stdout === "shown" ? "logged" : stdout,
        stderr: this.#quiet ? "logged" : "shown",
        told: !this.#quiet,
      },
      {
        output: (stream, bytes) => {
          if (stream === "stdout") return take?.(bytes);
          this.#stderr = Buffer.from(Buffer.concat([this.#stderr, bytes.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES));
        },
      },
    );
    for (const name of this.#signals.splice(0)) this.#started.signal(name);
    this.#end = this.#started.end
      .finally(() => {
        this.#over = true;
      })
      .then((exit) => ({
        code: exit.code,
        exit,
        durationMs: Math.round(performance.now() - startedAt),
        stderr: this.#stderr.toString(),
        piped: [],
      }));
    // It is told to whoever awaits the command, or to the function's own end.
    this.#end.catch(() => {});
    return this.#end;
  }

  #whenOver(listener: () => void): void {
    queueMicrotask(() => {
      this.start();
      this.#end?.then(listener, listener);
    });
  }

  #change(what: string): void {
    if (this.#end) throw new TypeError(`${this.#shown()} has started: .${what}() comes too late.`);
  }

  #shown(): string {
    const { command } = this.#origin;
    const text = oneLine("argv" in command ? command.argv.map(quote).join(" ") : command.shell.trim());
    return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  }
}

/** Signals that wait for a start; what is more is lost. */
const MOST_SIGNALS = 16;
