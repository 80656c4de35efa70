// A recipe in a process of its own, without a right of its own: READ FIRST of this folder. The recipe is bundled here, loaded there, and
// what it plans comes back as data, which is checked and made into the plan. prepare.ts opens it in place of loading a recipe.
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { asSortieError, SortieError } from "../../protocol/errors.ts";
import type { JobName } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { within } from "../../protocol/within.ts";
import type { NotRun } from "../elsewhere.ts";
import type { GivenParam } from "../given-params.ts";
import { planElsewhere } from "../plan.ts";
import type { PlanJob } from "../plan-job.ts";
import { checkSource } from "../recipe/check-source.ts";
import { type LoadOptions, recipeFile } from "../recipe/loader.ts";
import type { Notify } from "../recipe/notify.ts";
import { mayRepeatName } from "../recipe/repeated-name.ts";
import type { Field } from "../recipe/schema-fields.ts";
import { type AdmitOptions, admitted, admittedNotify } from "./admit.ts";
import { bundle } from "./bundle.ts";
import { Calls } from "./calls.ts";
import { errorOf } from "./failure.ts";
import { denied, isNamed, ownFolderOf, readableIn, type SandboxGrants } from "./grants.ts";
import { FromRecipe, type ToRecipe } from "./messages.ts";
import { type Bounds, defaultBounds, sdkAddress, startProcess } from "./process.ts";
import { wireOn } from "./wire.ts";
import type { WireJob } from "./wire-job.ts";

export interface SandboxOptions extends LoadOptions {
  readonly grants: SandboxGrants;
  /** Told the lines that the recipe prints. Default: they go to stderr. */
  readonly printed?: (line: string) => void;
  /** Default: those of limits.ts. */
  readonly bounds?: Partial<Bounds>;
  /** What its process runs. Default: this installation's own. */
  readonly program?: string;
}

/** What is known of the recipe once it is loaded. */
export interface Sandboxed {
  readonly path: string;
  readonly source: string;
  readonly whole: ReturnType<typeof planElsewhere>;
  readonly notify: readonly Notify[];
  readonly params?: readonly GivenParam[];
  /** Ends the recipe's process. */
  close(): Promise<void>;
}

export interface Described {
  readonly takesParams: boolean;
  readonly fields: readonly Field[] | undefined;
  readonly variables: Readonly<Record<string, string>>;
}

type Answer = Extract<FromRecipe, { type: "answer" }>["answer"];
type Planned = Extract<FromRecipe, { type: "planned" }>;

/** Rejects as loadRecipe and planOf do, and with SANDBOX_DENIED and SANDBOX_FAILED. */
export async function openSandbox(path: string, options: SandboxOptions): Promise<Sandboxed> {
  const link = await startLink(path, options);
  try {
    const jobs: WireJob[] = [];
    const { notify, params } = await link.load("plan", (job) => jobs.push(job));
    const { file, source, admit } = link;
    const whole = planElsewhere(file, jobs.map(admit));
    for (const { name } of whole.jobs) link.names.add(name);
    const wrong = (what: string, flag: string | undefined) => denied(what, flag, { file, line: 1 });
    const sandboxed: Sandboxed = {
      path: file,
      source,
      whole,
      notify: notify.map((one) => admittedNotify(one, link, wrong)),
      ...(params ? { params } : {}),
      close: link.close,
    };
    // Nothing of the recipe is needed any more: nothing of it runs on.
    const isNeeded = jobs.some(
      ({ drive, condition, output }) => drive ?? condition ?? (output === "schema" || undefined),
    );
    if (!isNeeded) await link.close();
    return sandboxed;
  } catch (error) {
    await link.close();
    throw error;
  }
}

/** What the recipe takes. Rejects as openSandbox does. */
export async function describeSandboxed(path: string, options: SandboxOptions): Promise<Described> {
  const link = await startLink(path, options);
  try {
    const { takesParams, fields, variables } = await link.load("describe", () => {});
    return { takesParams, fields: fields as readonly Field[] | undefined, variables };
  } finally {
    await link.close();
  }
}

async function startLink(path: string, options: SandboxOptions) {
  const { grants } = options;
  const bounds = { ...defaultBounds, ...options.bounds };
  const file = recipeFile(path);
  if (file.includes("*"))
    throw new SortieError(
      "USAGE",
      `${path} cannot be in a sandbox: in its path is a *, which Node takes for a pattern.`,
      {
        hint: "Move it to a folder without one.",
      },
    );
  const source = readFileSync(file, "utf8");
  const own = ownFolderOf(file);
  const readable = [...(own === undefined ? [] : [own]), ...grants.read];
  // It starts while the recipe is bundled.
  const child = startProcess({
    readable,
    grants,
    bounds,
    program: options.program,
    printed: options.printed ?? ((line) => void process.stderr.write(`recipe: ${line}\n`)),
  });
  const { code, files } = await (async () => {
    try {
      if (mayRepeatName(source)) await checkSource(source, file);
      return await bundle(file, [...readable, file], bounds);
    } catch (error) {
      await child.close();
      throw error;
    }
  })();
  for (const one of files) options.onImport?.(one);
  const interrupt = (): void => child.kill(new SortieError("INTERRUPTED", "Interrupted while the recipe was loaded."));
  options.signal?.addEventListener("abort", interrupt, { once: true });
  if (options.signal?.aborted) interrupt();
  const wire = wireOn(child.pipe, {
    mostBytes: limits.sandboxMessageBytes,
    mostASecond: limits.sandboxMessagesASecond,
  });
  const gone = new AbortController();
  const send = (message: ToRecipe): void => {
    if (gone.signal.aborted) return;
    if (wire.unread > limits.sandboxUnreadBytes)
      return child.kill(
        new SortieError("SANDBOX_FAILED", "The sandboxed recipe's process does not read what it is told."),
      );
    wire.send(message);
  };
  child.pipe.on("error", () => {});
  const asked = new Map<number, PromiseWithResolvers<Answer>>();
  let last = 0;
  let loading: ((message: FromRecipe) => void) | undefined;
  const loaded = Promise.withResolvers<FromRecipe>();
  loaded.promise.catch(() => {});

  /** Rejects with SANDBOX_FAILED where no answer comes in time, and ends the process: it loops. */
  async function timely<T>(answer: Promise<T>, what: string, ms = bounds.answersMs): Promise<T> {
    const first = await within(
      answer.then((value) => ({ value })),
      ms,
    );
    if (first) return first.value;
    const late = new SortieError("SANDBOX_FAILED", `The sandboxed recipe did not ${what} within ${ms / 1_000} s.`);
    child.kill(late);
    throw late;
  }

  async function ask(message: AskedWithoutId, what: string): Promise<Answer> {
    const id = ++last;
    const answer = Promise.withResolvers<Answer>();
    if (gone.signal.aborted) throw gone.signal.reason;
    asked.set(id, answer);
    send({ ...message, id } as ToRecipe);
    try {
      return await timely(answer.promise, what);
    } finally {
      asked.delete(id);
    }
  }

  const mayRead = readableIn(readable);
  const names = new Set<JobName>();
  const calls = new Calls({
    send,
    room: wire.room,
    files,
    jobs: names,
    admit: (jobs) => jobs.map(admit),
    async fits(question, text) {
      const answer = await ask({ type: "answer-fits", ask: question, text }, "check an answer");
      return answer.kind === "wrong" ? { issues: answer.issues } : {};
    },
  });

  const admitOptions: AdmitOptions = {
    recipe: file,
    grants,
    mayRead,
    files,
    drive: ({ name }, digest) => ({ drive: (host) => calls.call(name, host), toString: () => digest }),
    condition: ({ name }, digest) => ({
      async whyNot({ needs }): Promise<NotRun | undefined> {
        try {
          const answer = await ask({ type: "condition", job: name, needs }, `tell whether ${name} runs`);
          if (answer.kind === "runs") return undefined;
          if (answer.kind === "skipped") return { outcome: answer.outcome, message: answer.message };
          return { outcome: "failed", message: "its `if` gave no answer" };
        } catch (error) {
          return { outcome: "failed", message: `its \`if\` was not answered: ${asSortieError(error).message}` };
        }
      },
      toString: () => digest,
    }),
    schema: ({ name }) => ({
      "~standard": {
        version: 1,
        vendor: "sortie",
        async validate(value) {
          const answer = await ask({ type: "fits", job: name, value }, `check the output of ${name}`);
          return answer.kind === "fits"
            ? { value: answer.value }
            : { issues: answer.kind === "wrong" ? answer.issues : [] };
        },
      },
    }),
  };
  const admit = (job: WireJob): PlanJob => admitted(job, admitOptions);

  let planBytes = 0;
  function take(message: unknown, bytes: number): void {
    if (loading) planBytes += bytes;
    if (planBytes > limits.sandboxPlanBytes)
      throw new SortieError("SANDBOX_FAILED", `The recipe's plan is longer than ${limits.sandboxPlanBytes} bytes.`);
    const parsed = parsedOf(message);
    switch (parsed.type) {
      case "job":
      case "planned":
      case "described":
      case "failed":
        if (!loading) throw new SortieError("SANDBOX_FAILED", "The sandboxed recipe's process planned twice.");
        return loading(parsed);
      case "answer":
        return asked.get(parsed.id)?.resolve(parsed.answer);
      default:
        return calls.take(parsed);
    }
  }

  function end(because: SortieError): void {
    if (gone.signal.aborted) return;
    gone.abort(because);
    child.pipe.destroy();
    loaded.reject(because);
    for (const { reject, promise } of asked.values()) {
      promise.catch(() => {});
      reject(because);
    }
    calls.end(because);
  }
  void wire.read(take).then(
    async () => {
      // What has ended says why; what has only closed its pipe can do nothing more.
      await within(child.ended, limits.closeMs);
      child.kill(new SortieError("SANDBOX_FAILED", "The sandboxed recipe's process closed its pipe."));
    },
    (error: unknown) => child.kill(asSortieError(error)),
  );
  void child.ended.then(end);

  async function load<What extends "plan" | "describe">(
    what: What,
    onJob: (job: WireJob) => void,
  ): Promise<What extends "plan" ? Planned : Extract<FromRecipe, { type: "described" }>> {
    let jobs = 0;
    loading = (message) => {
      if (message.type === "job") {
        if (++jobs > limits.sandboxJobs)
          throw new SortieError("SANDBOX_FAILED", `The recipe has more than ${limits.sandboxJobs} jobs.`);
        return onJob(message.job);
      }
      loading = undefined;
      loaded.resolve(message);
    };
    const env = Object.fromEntries(
      Object.entries(process.env).filter((entry): entry is [string, string] => isNamed(entry[0], grants.env)),
    );
    const params = options.params ?? [];
    const takesEnv = options.environment === undefined;
    send({ type: "load", what, file, source, code, sdk: sdkAddress(), params, env, takesEnv });
    const message = await timely(loaded.promise, "load", bounds.loadMs);
    // From here on Ctrl-C cancels jobs, and their functions are told.
    options.signal?.removeEventListener("abort", interrupt);
    if (message.type === "failed") throw ofRecipe(errorOf(message.failure, files));
    if (message.type !== (what === "plan" ? "planned" : "described"))
      throw new SortieError("SANDBOX_FAILED", "The sandboxed recipe's process said something else than was asked.");
    return message as never;
  }

  return {
    file,
    source,
    recipe: file,
    grants,
    mayRead,
    admit,
    names,
    load,
    async close() {
      options.signal?.removeEventListener("abort", interrupt);
      await child.close();
    },
  };
}

type AskedWithoutId =
  | { type: "condition"; job: JobName; needs: readonly unknown[] }
  | { type: "fits"; job: JobName; value: unknown }
  | { type: "answer-fits"; ask: number; text: string };

/** Whatever code it says: what fails while a recipe is loaded is the recipe. */
function ofRecipe(error: Error): Error {
  if (error instanceof SortieError && /^(RECIPE|SANDBOX)_/.test(error.code)) return error;
  return new SortieError("SANDBOX_FAILED", `The sandboxed recipe could not be loaded: ${error.message}`);
}

/** Throws SANDBOX_FAILED. */
function parsedOf(message: unknown): FromRecipe {
  let parsed: v.SafeParseResult<typeof FromRecipe>;
  try {
    parsed = v.safeParse(FromRecipe, message);
  } catch {
    // As deep as that nothing is.
    throw new SortieError("SANDBOX_FAILED", "The sandboxed recipe's process sent a message that is too deep.");
  }
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const where = v.getDotPath(issue);
  throw new SortieError(
    "SANDBOX_FAILED",
    `The sandboxed recipe's process sent something that is not for it to say: ${issue.message}${where ? ` (${where})` : ""}.`,
  );
}
