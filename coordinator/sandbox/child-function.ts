// Functions of a sandboxed recipe, in its own process: each is called with a `$` whose commands the coordinator starts, a log that it
// keeps and questions that it asks. calls.ts is the other end.

import type * as v from "valibot";
import type { Exit } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import { driveFunction } from "../drive-function.ts";
import { outputOfFunction } from "../output.ts";
import { type JobNames, type Plan, planMore } from "../plan.ts";
import type { PlanJob } from "../plan-job.ts";
import { type AskOptions, checkAsked } from "../recipe/ask.ts";
import type { CommandSink, CommandSpec, CommandStarter, StartedCommand } from "../recipe/command-starter.ts";
import { givesJobs } from "../recipe/recipe.ts";
import { errorFrom, failureOf } from "./failure.ts";
import type { FromRecipe, Returned, ToRecipe } from "./messages.ts";
import { toWire } from "./wire-job.ts";

type Told = Extract<
  ToRecipe,
  { type: "call" | "joined" | "over" | "logged" | "answered" | "answer-fits" | "output" | "pull" | "left" | "ended" }
>;
type WholePlan = Plan & { readonly names: JobNames; readonly source: string };

export interface FunctionsOptions {
  readonly plan: WholePlan;
  readonly params: Readonly<Record<string, unknown>>;
  readonly send: (message: FromRecipe) => void;
}

interface OpenCommand {
  readonly sink: CommandSink;
  readonly input: Input | undefined;
  readonly end: PromiseWithResolvers<Exit>;
}

interface Question {
  readonly schema: AskOptions["schema"] | undefined;
  readonly answered: PromiseWithResolvers<unknown>;
  value?: unknown;
}

export class Functions {
  readonly #options: FunctionsOptions;
  #plan: WholePlan;
  #ids = 0;
  readonly #over = new Map<number, AbortController>();
  readonly #commands = new Map<number, OpenCommand>();
  readonly #logged = new Map<number, PromiseWithResolvers<void>>();
  readonly #questions = new Map<number, Question>();
  /** Jobs that a call gave, until the run has them. */
  readonly #given = new Map<number, WholePlan>();

  constructor(options: FunctionsOptions) {
    this.#options = options;
    this.#plan = options.plan;
  }

  job(name: string): PlanJob {
    const job = this.#plan.jobs.find((one) => one.name === name);
    if (!job) throw new Error(`there is no job ${name}`);
    return job;
  }

  async take(message: Told): Promise<void> {
    switch (message.type) {
      case "call":
        return this.#call(message);
      case "joined": {
        this.#plan = this.#given.get(message.call) ?? this.#plan;
        this.#given.delete(message.call);
        return;
      }
      case "over":
        return this.#over.get(message.call)?.abort(errorFrom(message.error));
      case "logged": {
        const logged = this.#logged.get(message.id);
        this.#logged.delete(message.id);
        return message.error ? logged?.reject(errorFrom(message.error)) : logged?.resolve();
      }
      case "answer-fits":
        return this.#fits(message.id, message.ask, message.text);
      case "answered": {
        const question = this.#questions.get(message.id);
        this.#questions.delete(message.id);
        if (message.error) question?.answered.reject(errorFrom(message.error));
        else question?.answered.resolve(question.schema ? question.value : message.text);
        return;
      }
      case "output": {
        const { command, stream, bytes } = message;
        await this.#commands.get(command)?.sink.output(stream, Buffer.from(bytes, "base64"));
        return this.#options.send({ type: "took", command, stream });
      }
      case "pull":
        return this.#commands.get(message.command)?.input?.pull();
      case "left":
        return this.#commands.get(message.command)?.input?.leave();
      case "ended": {
        const command = this.#commands.get(message.command);
        this.#commands.delete(message.command);
        void command?.input?.leave();
        if (message.exit) command?.end.resolve(message.exit);
        else if (message.error) command?.end.reject(errorFrom(message.error));
      }
    }
  }

  async #call({ call, job: name, needs, workspace }: Told & { type: "call" }): Promise<void> {
    const { send, params } = this.#options;
    const job = this.job(name);
    const over = new AbortController();
    this.#over.set(call, over);
    let returned: v.InferOutput<typeof Returned>;
    try {
      const given = await driveFunction(job.drive, {
        context: { needs, env: process.env, params },
        starters: [job, ...(job.also ?? [])].map((_, place) => this.#starter(call, place)),
        also: (job.also ?? []).map((place) => place.name),
        hide: (text) => text,
        store: (bytes) => this.#log(call, bytes),
        ask: ((question: unknown, options?: Partial<AskOptions>) => this.#ask(call, question, options)) as never,
        over: over.signal,
        workspace,
        late: (error) => send({ type: "late", call, failure: failureOf(error, this.#plan.recipe) }),
      });
      returned = this.#returned(call, job, given);
    } catch (error) {
      returned = { kind: "failed", failure: failureOf(error, this.#plan.recipe) };
    } finally {
      this.#over.delete(call);
    }
    send({ type: "returned", call, returned });
  }

  #returned(call: number, job: PlanJob, given: unknown): v.InferOutput<typeof Returned> {
    if (!givesJobs(given)) {
      const output = outputOfFunction(given);
      if ("value" in output) return { kind: "value", value: output.value };
      return { kind: "value", problem: output.problem };
    }
    const more = planMore(this.#plan, job, given);
    this.#given.set(call, { ...this.#plan, jobs: [...this.#plan.jobs, ...more.jobs], names: more.names });
    return { kind: "jobs", jobs: more.jobs.map(toWire) as never, given: more.given as never };
  }

  #starter(call: number, place: number): CommandStarter {
    const { send } = this.#options;
    return {
      start: ({ stdin, note, ...spec }: CommandSpec, sink: CommandSink): StartedCommand => {
        const command = ++this.#ids;
        const end = Promise.withResolvers<Exit>();
        const input = stdin && new Input(stdin, command, send);
        this.#commands.set(command, { sink, input, end });
        const asked = { ...spec, env: Object.entries(spec.env), stdin: stdin !== undefined, noted: note !== undefined };
        send({ type: "start", call, command, place, spec: asked });
        return {
          end: end.promise,
          signal: (name) => send({ type: "signal", command, name }),
          cancel: () => send({ type: "cancel", command }),
        };
      },
    };
  }

  async #log(call: number, bytes: Uint8Array): Promise<void> {
    const pieces: Promise<void>[] = [];
    for (let at = 0, end = 0; at < bytes.length; at = end) {
      end = Math.min(at + limits.sandboxPieceBytes, bytes.length);
      // Whole characters: each piece is looked through for secrets, as text.
      while (end < bytes.length && ((bytes[end] as number) & 0xc0) === 0x80) end--;
      const id = ++this.#ids;
      const logged = Promise.withResolvers<void>();
      this.#logged.set(id, logged);
      pieces.push(logged.promise);
      this.#options.send({ type: "log", call, id, bytes: base64(bytes.subarray(at, end)) });
    }
    await Promise.all(pieces);
  }

  #ask(call: number, question: unknown, options: Partial<AskOptions> | undefined): Promise<unknown> {
    checkAsked(question, options);
    const id = ++this.#ids;
    const answered = Promise.withResolvers<unknown>();
    this.#questions.set(id, { schema: options?.schema, answered });
    this.#options.send({ type: "ask", call, id, question, checks: options?.schema !== undefined });
    // A function may have left without it.
    answered.promise.catch(() => {});
    return answered.promise;
  }

  async #fits(id: number, ask: number, text: string): Promise<void> {
    const question = this.#questions.get(ask);
    const checked = await question?.schema?.["~standard"].validate(text);
    const [issue] = checked?.issues ?? [];
    if (checked && !checked.issues && question) question.value = checked.value;
    const answer = issue
      ? { kind: "wrong" as const, issues: [{ message: issue.message.slice(0, limits.sandboxWordsCharacters) }] }
      : { kind: "fits" as const };
    this.#options.send({ type: "answer", id, answer });
  }
}

/** What a command reads, piece by piece, as the coordinator asks for it. */
class Input {
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #command: number;
  readonly #send: FunctionsOptions["send"];
  #rest: Uint8Array = new Uint8Array();

  constructor(source: AsyncIterable<Uint8Array>, command: number, send: FunctionsOptions["send"]) {
    this.#pieces = source[Symbol.asyncIterator]();
    this.#command = command;
    this.#send = send;
  }

  async pull(): Promise<void> {
    const command = this.#command;
    try {
      while (this.#rest.length === 0) {
        const next = await this.#pieces.next();
        if (next.done) return this.#send({ type: "stdin", command, isLast: true });
        this.#rest = next.value;
      }
    } catch {
      // Half an input must not look like a whole one.
      return this.#send({ type: "cancel", command });
    }
    const piece = this.#rest.subarray(0, limits.sandboxPieceBytes);
    this.#rest = this.#rest.subarray(piece.length);
    this.#send({ type: "stdin", command, bytes: base64(piece) });
  }

  async leave(): Promise<void> {
    await this.#pieces.return?.();
  }
}

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
