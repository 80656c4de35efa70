// The process of a sandboxed recipe: loads it, tells its plan, and does for the coordinator what only the recipe's own code can.
// It has no permission of Node's but what the recipe was given. sandbox/process.ts starts it.
import { createRequire, registerHooks } from "node:module";
import { Socket } from "node:net";
import { pathToFileURL } from "node:url";
import { messageOf } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { isTaken } from "../../protocol/unhandled.ts";
import { whyNotRun } from "../condition.ts";
import { planOf } from "../plan.ts";
import { guarded } from "../recipe/guard.ts";
import { loadError } from "../recipe/load-error.ts";
import { exportedBy, loadedOf } from "../recipe/loader.ts";
import { takesParams } from "../recipe/recipe.ts";
import type { SchemaResult } from "../recipe/schema.ts";
import { fieldsOf } from "../recipe/schema-fields.ts";
import { Functions } from "./child-function.ts";
import { failureOf } from "./failure.ts";
import { fence } from "./fence.ts";
import type { FromRecipe, ToRecipe } from "./messages.ts";
import { wireOn } from "./wire.ts";
import { notifyToWire, toWire } from "./wire-job.ts";

type Load = Extract<ToRecipe, { type: "load" }>;
type Answer = Extract<FromRecipe, { type: "answer" }>["answer"];

/** Which the coordinator gives this process beside its outputs. */
const PIPE = 3;

export async function runSandboxed(): Promise<void> {
  // Of a job's function it is that job's failure; otherwise it ends the process, as it would end the coordinator.
  process.on("unhandledRejection", (reason) => {
    if (!isTaken(reason)) throw reason;
  });
  const pipe = new Socket({ fd: PIPE, readable: true, writable: true });
  const wire = wireOn(pipe, { mostBytes: 2 ** 31 });
  const send = (message: FromRecipe): void => wire.send(message);
  let functions: Functions | undefined;
  let params: Readonly<Record<string, unknown>> = {};

  async function load(asked: Load): Promise<void> {
    const { file, source, what } = asked;
    try {
      // Nothing but the recipe keeps the process now: where it awaits what never comes, that is seen.
      pipe.unref();
      const recipe = await imported(asked);
      if (what === "describe") {
        const fields = takesParams(recipe) ? fieldsOf(recipe.params) : undefined;
        const variables = takesParams(recipe) ? { ...recipe.env } : {};
        return send({ type: "described", takesParams: takesParams(recipe), fields, variables } as FromRecipe);
      }
      const loaded = await loadedOf(
        { file, source, recipe },
        { params: asked.params, ...(asked.takesEnv ? {} : { environment: {} }) },
      );
      const plan = planOf(loaded);
      params = loaded.values;
      functions = new Functions({ plan: { ...plan, source }, params, send });
      for (const job of plan.jobs) send({ type: "job", job: toWire(job) as never });
      const notify = loaded.recipe.notify.map(notifyToWire);
      send({ type: "planned", notify, ...(loaded.params ? { params: [...loaded.params] } : {}) });
    } catch (error) {
      send({ type: "failed", failure: failureOf(error, file) });
    } finally {
      pipe.ref();
    }
  }

  async function answer(asked: Extract<ToRecipe, { type: "condition" | "fits" }>): Promise<Answer> {
    const job = (functions as Functions).job(asked.job);
    if (asked.type === "condition") {
      const not = await whyNotRun(job, { needs: asked.needs, env: process.env, params });
      return not ? { kind: "skipped", outcome: not.outcome, message: words(not.message) } : { kind: "runs" };
    }
    try {
      if (typeof job.output !== "object" && typeof job.output !== "function") throw new Error("it has no schema");
      return answerOf(await job.output["~standard"].validate(asked.value));
    } catch (error) {
      return { kind: "wrong", issues: [{ message: words(`it threw ${messageOf(error)}`) }] };
    }
  }

  await wire.read((message) => {
    const asked = message as ToRecipe;
    switch (asked.type) {
      case "load":
        return void load(asked);
      case "condition":
      case "fits":
        return void answer(asked).then((answer) => send({ type: "answer", id: asked.id, answer }));
      default:
        return void functions?.take(asked);
    }
  });
  // What it printed last.
  await Promise.all([process.stdout, process.stderr].map((output) => new Promise((done) => output.write("", done))));
}

const words = (text: string): string => text.slice(0, limits.sandboxWordsCharacters);

function answerOf(result: SchemaResult<unknown>): Answer {
  if (!result.issues) {
    if (JSON.stringify(result.value) !== undefined || result.value === undefined)
      return { kind: "fits", value: result.value };
    return { kind: "wrong", issues: [{ message: `what it makes of it cannot be JSON: a ${typeof result.value}` }] };
  }
  const issues = result.issues.slice(0, 100).map(({ message, path }) => ({
    message: words(message),
    ...(path ? { path: path.map((part) => String(typeof part === "object" ? part.key : part)) } : {}),
  }));
  return { kind: "wrong", issues };
}

/** The recipe as its bundle exports it. It goes by the recipe's own address. */
async function imported({ file, source, code, sdk, env }: Load) {
  Object.assign(process.env, env);
  fence();
  const url = pathToFileURL(file).href;
  // Packages in CommonJS require Node's own modules at run time.
  Object.defineProperty(globalThis, "require", { value: createRequire(url), configurable: true, writable: true });
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === "sortie") return { url: sdk, format: "module", shortCircuit: true };
      return specifier === url ? { url, format: "module", shortCircuit: true } : next(specifier, context);
    },
    load: (asked, context, next) =>
      asked === url ? { source: code, format: "module", shortCircuit: true } : next(asked, context),
  });
  let module: { default?: unknown };
  try {
    module = await guarded(() => import(url), { file, source, signal: undefined });
  } catch (error) {
    throw failureOf(error, file).kind === "refused" ? error : loadError(error, file, source);
  }
  return exportedBy(module, file);
}
