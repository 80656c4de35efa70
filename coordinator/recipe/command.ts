// A command that a function starts on its job's runner, and the ways to read what it writes. `$` makes it: see
// shell-function.ts.

import * as v from "valibot";
import { type Command as CommandText, Environment } from "../../protocol/command.ts";
import { parseDuration } from "../../protocol/duration.ts";
import { SortieError } from "../../protocol/errors.ts";
import { type Exit, passed, SignalName } from "../../protocol/exit.ts";
import { lastBytes } from "../../protocol/last-bytes.ts";
import { limits } from "../../protocol/limits.ts";
import { Text } from "../../protocol/primitives.ts";
import { CommandError } from "./command-error.ts";
import { bytesOf, type CommandInput } from "./command-input.ts";
import { jsonOf } from "./command-json.ts";
import { type GivenLines, givenLines, linesOf } from "./command-lines.ts";
import type { CommandSpec, CommandStarter, StartedCommand } from "./command-starter.ts";
import { commandLine, commandNote } from "./command-text.ts";
import { Handoff } from "./handoff.ts";
import type { Location } from "./location.ts";
import type { Duration } from "./place.ts";
import { Reading } from "./reading.ts";
import { isSchema, type SchemaOutput, type StandardSchema } from "./schema.ts";

/** Of what a command wrote to its standard error. */
const TAIL_BYTES = 4 * 1024;

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
  /** Takes the job's secrets out of a text that people see. */
  readonly hide: (text: string) => string;
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
  readonly #over = Promise.withResolvers<void>();
  #isOver = false;
  /** It was ended because the one that it is piped into had ended: no failure of its own. */
  #cutOff = false;
  #stderr = Buffer.alloc(0);
  /** How it came out, whatever that is; rejects where it was lost. */
  #end: Promise<CommandResult> | undefined;
  /** Why it was ended, where that was neither its own doing nor asked for. */
  #problem: { readonly error: unknown } | undefined;
  /** What `.text()` and its like gave. */
  #reading: Promise<unknown> | undefined;
  /** What `.lines()` gave, and where they come from. */
  #reader: { readonly lines: GivenLines; readonly handoff: Handoff } | undefined;
  #functionIsOver = false;
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
  text(): Promise<string> {
    return this.#read("text", () => this.#text());
  }

  /**
   * Its standard output as it is; at most 16 MiB. It is logged, and not shown.
   * @example const archive = await $`tar cz dist`.bytes();
   */
  bytes(): Promise<Uint8Array> {
    return this.#read("bytes", () => this.#bytes());
  }

  /**
   * Its standard output, parsed as JSON, and checked by a schema of any library that follows Standard Schema; at most 16 MiB.
   * @example const { name } = await $`cat package.json`.json(v.object({ name: v.string() }));
   */
  json<Schema extends StandardSchema>(schema: Schema): Promise<SchemaOutput<Schema>>;
  json(): Promise<unknown>;
  json(schema?: StandardSchema): Promise<unknown> {
    this.#change("json");
    if (schema !== undefined && !isSchema(schema)) this.#refuse(".json() takes a schema of valibot, zod or the like.");
    return this.#read("json", async () => jsonOf(await this.#text(), schema, this.#shown()));
  }

  /**
   * Its standard output line by line, without their ends, as they come: the command is slowed down to the speed at which
   * they are taken. Leaving the loop ends it. A line is at most 16 MiB. They are logged, and not shown.
   * @example for await (const line of $`tail -f log`.lines()) if (line.includes("ready")) break;
   */
  lines(): AsyncGenerator<string, void, undefined> {
    this.#change("lines");
    const handoff = new Handoff();
    const end = this.#start("logged", (bytes) => handoff.push(bytes));
    // Half a line must not look like a whole one: only what ended by itself has written all of its last one.
    let isCut = true;
    end.then(
      ({ exit }) => {
        isCut = exit.reason !== "exited";
        handoff.end();
      },
      () => handoff.end(),
    );
    const lines = givenLines(
      this.#lines(handoff, end, () => isCut || this.#problem !== undefined),
      () => {
        // Whoever goes on reading does so before the next turn.
        if (this.#functionIsOver) setImmediate(() => this.noMoreReading());
      },
    );
    this.#reader = { lines, handoff };
    return lines.lines;
  }

  async *#lines(
    handoff: Handoff,
    end: Promise<CommandResult>,
    isCut: () => boolean,
  ): AsyncGenerator<string, void, undefined> {
    this.#heard = true;
    let whole = false;
    try {
      yield* linesOf(handoff, this.#shown(), isCut);
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
    if (!(typeof other === "object" && other !== null && #origin in other))
      this.#refuse(".pipe() takes another command, which `$` gave.");
    try {
      this.#change("pipe");
      if (other === this) this.#refuse(".pipe() takes another command, not itself.");
      if (other.#end) this.#refuse(`.pipe() takes a command that has not started: ${other.#shown()} has.`);
      if (other.#stdin) this.#refuse(`${other.#shown()} has a standard input already.`);
    } catch (error) {
      // By itself it would start with an empty input.
      if (!other.#end) other.#neverStart(error as TypeError);
      throw error;
    }
    const handoff = new Handoff();
    other.#stdin = handoff;
    other.#sources = [...this.#sources, this];
    this.#heard = true;
    const end = this.#start("passed", (bytes) => handoff.push(bytes));
    end.then(
      // Half an input must not look like a whole one: only the end of a command that ended by itself is an end.
      ({ exit }) => {
        if (exit.reason === "exited") handoff.end();
        else other.kill();
      },
      // Not what kill() gives, which is a command: it would be awaited.
      () => {
        other.kill();
      },
    );
    other.#over.promise.then(() => {
      handoff.leave();
      if (this.#isOver) return;
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
    if (!ms) this.#refuse(`.timeout() takes milliseconds or a duration such as "90s", not ${String(time)}.`);
    this.#timeoutMs = ms;
    return this;
  }

  /**
   * Adds variables to those of the job.
   * @example await $`npm publish`.env({ NODE_AUTH_TOKEN: token });
   */
  env(variables: Readonly<Record<string, string>>): this {
    this.#change("env");
    const entries = Object.entries(variables ?? {});
    const other = entries.find(([, value]) => typeof value !== "string");
    if (other) this.#refuse(`.env() has ${other[0]}, which is no text but ${typeof other[1]}.`);
    const all = { ...this.#env, ...Object.fromEntries(entries) };
    const { issues } = v.safeParse(Environment, Object.entries(all));
    if (issues) this.#refuse(`.env() cannot have ${entries.map(([name]) => name).join(", ")}: ${issues[0].message}.`);
    this.#env = all;
    return this;
  }

  /** Where it runs: absolute, or below the directory of the job. */
  cwd(path: string): this {
    this.#change("cwd");
    if (!v.is(Directory, path)) this.#refuse(`.cwd() takes a path, not ${path === "" ? "an empty one" : typeof path}.`);
    this.#cwd = path;
    return this;
  }

  /**
   * What it reads. Where that fails the command is ended, and awaiting it throws the same. Default: nothing.
   * @example await $`psql app`.stdin("vacuum;");
   */
  stdin(input: CommandInput): this {
    this.#change("stdin");
    if (this.#stdin) this.#refuse(`${this.#shown()} has a standard input already.`);
    try {
      this.#stdin = this.#input(bytesOf(input));
    } catch (error) {
      this.#refuse((error as Error).message);
    }
    return this;
  }

  /** Sends a signal, such as `"HUP"`, to its whole process tree. */
  signal(name: SignalName): this {
    if (!v.is(SignalName, name))
      throw new TypeError(`.signal() takes a signal's name without SIG, such as "TERM", not ${String(name)}.`);
    if (this.#started) this.#started.signal(name);
    else if (this.#signals.length < MOST_SIGNALS) this.#signals.push(name);
    return this;
  }

  /** Ends it: TERM to its whole process tree, and KILL after the job's grace. */
  kill(): this {
    if (this.#isOver) return this;
    this.start();
    this.#started?.cancel();
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
    else await (this.#reading ?? this.#result());
  }

  /** @internal The function is over: what waits for it to read more would wait for ever. */
  noMoreReading(): void {
    this.#functionIsOver = true;
    if (!this.#reader?.lines.isLeft()) return;
    const rest = this.#reader.lines.wasAsked() ? "the rest of its" : "its";
    this.stopReading(`nobody took ${rest} .lines()`);
  }

  /** @internal Ends it where its lines are read, whether or not somebody is at it. */
  stopReading(because: string): void {
    if (!this.#reader || this.#isOver) return;
    this.#fail(new TypeError(`${this.#shown()} was ended, because ${because}.`));
    this.#reader.handoff.leave();
  }

  #read<Value>(what: string, read: () => Promise<Value>): Promise<Value> {
    this.#change(what);
    const reading = read();
    this.#reading = reading;
    return new Reading(reading, () => {
      this.#heard = true;
    });
  }

  async #text(): Promise<string> {
    return (await this.#bytes()).toString("utf8").replace(/\r?\n$/, "");
  }

  async #bytes(): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    const end = this.#start("logged", (bytes) => {
      length += bytes.length;
      if (length <= limits.collectedBytes) pieces.push(Uint8Array.from(bytes));
      else this.#started?.cancel();
    });
    await end.catch(() => {});
    if (length > limits.collectedBytes)
      throw new SortieError(
        "OUTPUT_TOO_LONG",
        `${this.#shown()} wrote more than ${limits.collectedBytes / 1024 / 1024} MiB, which is too much to be collected.`,
      );
    await this.#result();
    return Buffer.concat(pieces);
  }

  /** Half an input must not look like a whole one: where it fails, the command is ended before it sees an end of it. */
  async *#input(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* input;
    } catch (error) {
      this.#fail(error);
      await this.#over.promise;
    }
  }

  /** Ends it for a reason that is not its own. */
  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#problem ??= { error };
    this.kill();
  }

  /** What it came to by itself; rejects where it was lost, or could not go on. */
  async #outcome(): Promise<CommandResult> {
    const result = await (this.#end as Promise<CommandResult>);
    if (this.#problem) throw this.#problem.error;
    return result;
  }

  async #result(): Promise<CommandResult> {
    this.start();
    const all = await Promise.allSettled([...this.#sources, this].map((command) => command.#outcome()));
    // What was lost comes first: how the others ended follows from it.
    for (const one of all) if (one.status === "rejected") throw one.reason;
    const piped = all.map((one) => (one as PromiseFulfilledResult<CommandResult>).value);
    const own = piped.pop() as CommandResult;
    for (const [index, source] of this.#sources.entries()) source.#check(piped[index] as CommandResult);
    this.#check(own);
    return { ...own, piped };
  }

  #check({ exit }: CommandResult): void {
    if (!this.#throws || passed(exit) || (this.#cutOff && exit.reason === "cancelled")) return;
    throw new CommandError(this.#shown(), exit, this.#stderr.toString(), this.#origin.location);
  }

  #start(
    stdout: CommandSpec["stdout"],
    take: ((bytes: Uint8Array) => Promise<void> | void) | undefined,
  ): Promise<CommandResult> {
    const { starter, command, hide } = this.#origin;
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
        ...(this.#quiet ? {} : { note: commandNote(command, hide) }),
      },
      {
        output: (stream, bytes) => {
          if (stream === "stdout") return take?.(bytes);
          this.#stderr = lastBytes(this.#stderr, bytes, TAIL_BYTES);
        },
      },
    );
    for (const name of this.#signals.splice(0)) this.#started.signal(name);
    this.#end = this.#started.end
      .finally(() => this.#setOver())
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

  #setOver(): void {
    this.#isOver = true;
    this.#over.resolve();
  }

  #change(what: string): void {
    if (this.#end) throw new TypeError(`${this.#shown()} has started: .${what}() belongs where it is written.`);
  }

  /** What was asked of it cannot be, so it never starts, also where the error is caught. */
  #refuse(message: string): never {
    const error = new TypeError(message);
    this.#neverStart(error);
    throw error;
  }

  #neverStart(error: TypeError): void {
    this.#heard = true;
    this.#end = Promise.reject(error);
    this.#end.catch(() => {});
    this.#setOver();
  }

  #shown(): string {
    return commandLine(this.#origin.command, this.#origin.hide);
  }
}

const Directory = v.pipe(Text, v.minLength(1));
/** Signals that wait for a start; what is more is lost. */
const MOST_SIGNALS = 16;
