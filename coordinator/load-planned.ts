// A recipe and its plan, wherever the recipe's code runs: here, or in a sandbox. prepare.ts asks for a run, and `coordinator check`.
import { planOf } from "./plan.ts";
import { type LoadedRecipe, type LoadOptions, loadRecipe } from "./recipe/loader.ts";
import type { Notify } from "./recipe/notify.ts";
import type { SandboxGrants } from "./sandbox/grants.ts";

/** A recipe as far as a run needs it, wherever it was loaded. */
export interface Loaded extends Pick<LoadedRecipe, "source" | "values" | "params">, AsyncDisposable {
  readonly notify: readonly Notify[];
}

/** The recipe and its plan: loaded here, or in a sandbox. Rejects as loadRecipe, planOf and openSandbox do. */
export async function loadPlanned(
  path: string,
  options: LoadOptions,
  sandbox: SandboxGrants | undefined,
): Promise<{ readonly loaded: Loaded; readonly whole: ReturnType<typeof planOf> }> {
  if (sandbox) {
    const { openSandbox } = await import("./sandbox/sandbox.ts");
    const { whole, ...opened } = await openSandbox(path, { ...options, grants: sandbox });
    return { loaded: { ...opened, values: {}, [Symbol.asyncDispose]: opened.close }, whole };
  }
  const loaded = await loadRecipe(path, options);
  const { source, values, params, recipe } = loaded;
  const { notify } = recipe;
  return {
    loaded: { source, values, notify, ...(params ? { params } : {}), async [Symbol.asyncDispose]() {} },
    whole: planOf(loaded),
  };
}
