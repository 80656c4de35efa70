// Calls of a sandboxed recipe's functions, from the coordinator's side: what such a function asks of its commands, its log and the
// person is done here, as it is for any other. child-function.ts is the other end, and may say anything: what is out of turn ends it.
import { SortieError } from "../../protocol/errors.ts";
import type { JobName } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import type { FunctionHost } from "../elsewhere.ts";
import { JobsElsewhere } from "../plan.ts";
import type { PlanJob } from "../plan-job.ts";
import type { CommandSpec, StartedCommand } from "../recipe/command-starter.ts";
import { commandNote } from "../recipe/command-text.ts";
import type { StandardSchema } from "../recipe/schema.ts";
import { errorOf, wireError } from "./failure.ts";
import type { FromCommand, FromRecipe, ToRecipe } from "./messages.ts";
import type { WireJob } from "./wire-job.ts";

type OfCall = Extract<FromRecipe, { call: number }>;

export interface CallsOptions {
  readonly send: (message: ToRecipe) => void;
  /** Resolves once the recipe's process has read what it was sent. */
  readonly room: () => Promise<void>;
  /** Asks the recipe's process whether a text is an answer to the question. */
  readonly fits: (ask: number, text: string) => Promise<{ readonly issues?: readonly { message: string }[] }>;
  /** Jobs that a function gave, as the plan has them. Throws where one may not be. */
  readonly admit: (jobs: readonly WireJob[]) => readonly PlanJob[];
  readonly jobs: ReadonlySet<JobName>;
  /** Of the recipe. */
  readonly files: ReadonlySet<string>;
}

/** Calls that are remembered when they are over. */
const MOST_LATE = 1_000;

interface Call {
  readonly host: FunctionHost;
  readonly returned: PromiseWithResolvers<unknown>;
  logBytes: number;
  /** Whoever waits until what a command wrote is taken. */
  readonly waiting: Set<() => void>;
}

interface OpenCommand {
  readonly started: StartedCommand;
  readonly took: Map<"stdout" | "stderr", () => void>;
  /** There while a piece of its input is asked for. */
  pulled?: ((piece: Uint8Array | undefined) => void) | undefined;
}

export class Calls {
  readonly #options: CallsOptions;
  readonly #calls = new Map<number, Call>();
  readonly #commands = new Map<number, OpenCommand>();
  /** Of calls that are over: what floated in them may fail later, which is told once. */
  readonly #late = new Map<number, FunctionHost["late"]>();
  #last = 0;
  #gone: SortieError | undefined;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** Resolves with what the function gave. Rejects with what it failed with, and where its process is gone. */
  async call(job: JobName, host: FunctionHost): Promise<unknown> {
    if (this.#gone) throw this.#gone;
    const call = ++this.#last;
    const returned = Promise.withResolvers<unknown>();
    const waiting: Call["waiting"] = new Set();
    this.#calls.set(call, { host, returned, logBytes: 0, waiting });
    const tellOver = (): void => this.#options.send({ type: "over", call, error: wireError(host.over.reason) });
    host.over.addEventListener("abort", tellOver, { once: true });
    this.#options.send({ type: "call", call, job, needs: host.context.needs, workspace: host.workspace });
    try {
      return await returned.promise;
    } finally {
      host.over.removeEventListener("abort", tellOver);
      this.#calls.delete(call);
      // It may say that it returned while it takes nothing of what its commands write: the job's end would wait for that.
      for (const leave of waiting) leave();
      this.#late.set(call, host.late);
      const [oldest] = this.#late.keys();
      if (this.#late.size > MOST_LATE && oldest !== undefined) this.#late.delete(oldest);
    }
  }

  /** Its process is gone: what its commands were to read is not whole, and what they write is taken by nobody. */
  end(because: SortieError): void {
    this.#gone = because;
    for (const { returned } of this.#calls.values()) returned.reject(because);
    for (const { started } of this.#commands.values()) started.cancel();
  }

  /** Throws SANDBOX_FAILED for what is out of turn. */
  take(message: OfCall | FromCommand): void {
    if (!("call" in message)) return this.#ofCommand(message);
    if (message.type === "late") {
      this.#late.get(message.call)?.(errorOf(message.failure, this.#options.files));
      this.#late.delete(message.call);
      return;
    }
    const call = this.#calls.get(message.call);
    // It was given up meanwhile.
    if (!call) return;
    const { host, returned } = call;
    switch (message.type) {
      case "returned":
        return this.#returned(message, returned);
      case "log":
        return this.#log(message, call);
      case "ask":
        void this.#ask(message, host);
        return;
      case "start":
        return this.#start(message, call);
    }
  }

  #returned({ call, returned: came }: OfCall & { type: "returned" }, returned: Call["returned"]): void {
    const { files, admit, jobs, send } = this.#options;
    switch (came.kind) {
      case "failed":
        return returned.reject(errorOf(came.failure, files));
      case "value":
        // As outputOfFunction() would tell it, had it seen it.
        if (came.problem !== undefined) return returned.reject(errorOf({ kind: "told", message: came.problem }, files));
        return returned.resolve(came.value);
      case "jobs":
        try {
          const planned = { jobs: admit(came.jobs), given: came.given };
          returned.resolve(new JobsElsewhere(planned, jobs, () => send({ type: "joined", call })));
        } catch (error) {
          returned.reject(error);
        }
    }
  }

  #log({ id, bytes }: OfCall & { type: "log" }, call: Call): void {
    const piece = Buffer.from(bytes, "base64");
    call.logBytes += piece.length;
    if (call.logBytes > limits.functionLogBytes) throw outOfTurn("logs more than may wait");
    call.host.store(piece).then(
      () => {
        call.logBytes -= piece.length;
        this.#options.send({ type: "logged", id });
      },
      (error: unknown) => this.#options.send({ type: "logged", id, error: wireError(error) }),
    );
  }

  async #ask({ id, question, checks }: OfCall & { type: "ask" }, host: FunctionHost): Promise<void> {
    const { send, fits } = this.#options;
    const validate = async (text: unknown) => {
      const { issues } = await fits(id, text as string);
      return issues ? { issues } : { value: text };
    };
    const schema: StandardSchema = { "~standard": { version: 1, vendor: "sortie", validate } };
    try {
      const text = await (checks ? host.ask(question, { schema }) : host.ask(question));
      send({ type: "answered", id, text: text as string });
    } catch (error) {
      send({ type: "answered", id, error: wireError(error) });
    }
  }

  #start({ call, command, place, spec: asked }: OfCall & { type: "start" }, { host, waiting }: Call): void {
    const { send } = this.#options;
    const starter = host.starters[place];
    if (!starter || this.#commands.has(command)) throw outOfTurn("starts a command where it has no place");
    if (this.#commands.size >= limits.sandboxCommands) {
      const most = `${limits.sandboxCommands} commands of a sandboxed recipe are under way, which is the most.`;
      return send({ type: "ended", command, error: wireError(new SortieError("SANDBOX_FAILED", most)) });
    }
    const { env, stdin, noted, cwd, timeoutMs, ...rest } = asked;
    const took: OpenCommand["took"] = new Map();
    const spec: CommandSpec = {
      ...rest,
      env: Object.fromEntries(env),
      ...(cwd === undefined ? {} : { cwd }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(stdin ? { stdin: this.#input(command) } : {}),
      ...(noted ? { note: commandNote(asked.command, host.hide) } : {}),
    };
    const started = starter.start(spec, {
      output: async (stream, bytes) => {
        if (!this.#calls.has(call)) return;
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        waiting.add(resolve);
        this.#output(command, took, stream, bytes).then(resolve, reject);
        await promise.finally(() => waiting.delete(resolve));
      },
    });
    this.#commands.set(command, { started, took });
    started.end.then(
      (exit) => this.#ended({ type: "ended", command, exit }),
      (error: unknown) => this.#ended({ type: "ended", command, error: wireError(error) }),
    );
  }

  #ended(message: ToRecipe & { type: "ended" }): void {
    this.#commands.get(message.command)?.pulled?.(undefined);
    this.#commands.delete(message.command);
    this.#options.send(message);
  }

  /** Resolves once the recipe's process has taken all of it. */
  async #output(
    command: number,
    took: OpenCommand["took"],
    stream: "stdout" | "stderr",
    bytes: Uint8Array,
  ): Promise<void> {
    for (let at = 0; at < bytes.length; at += limits.sandboxPieceBytes) {
      // It may say that it took what it never read.
      await this.#options.room();
      if (this.#gone) return;
      const piece = Buffer.from(bytes.subarray(at, at + limits.sandboxPieceBytes)).toString("base64");
      await new Promise<void>((resolve) => {
        took.set(stream, resolve);
        this.#options.send({ type: "output", command, stream, bytes: piece });
      });
    }
  }

  /** What the command reads: asked for piece by piece, as it is taken. */
  async *#input(command: number): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        // Half an input must not look like a whole one: the command is ended instead.
        if (this.#gone)
          return await this.#commands
            .get(command)
            ?.started.end.then(() => {})
            .catch(() => {});
        const open = this.#commands.get(command);
        if (!open) return;
        const piece = await new Promise<Uint8Array | undefined>((resolve) => {
          open.pulled = resolve;
          this.#options.send({ type: "pull", command });
        });
        if (!piece) return;
        yield piece;
      }
    } finally {
      this.#options.send({ type: "left", command });
    }
  }

  #ofCommand(message: FromCommand): void {
    const open = this.#commands.get(message.command);
    // It is over, which is on its way to the recipe's process.
    if (!open) return;
    switch (message.type) {
      case "signal":
        return open.started.signal(message.name);
      case "cancel":
        return open.started.cancel();
      case "took": {
        const taken = open.took.get(message.stream);
        open.took.delete(message.stream);
        return taken?.();
      }
      case "stdin": {
        const { pulled } = open;
        if (!pulled || (message.bytes === undefined) !== (message.isLast === true))
          throw outOfTurn("sends input that nobody asked for");
        open.pulled = undefined;
        return pulled(message.bytes === undefined ? undefined : Buffer.from(message.bytes, "base64"));
      }
    }
  }
}

const outOfTurn = (what: string): SortieError =>
  new SortieError("SANDBOX_FAILED", `The sandboxed recipe's process ${what}.`);
