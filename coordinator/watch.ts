// `coordinator run --watch`: the same command without it, in a process of its own each time, so that the recipe is loaded
// anew; and between, waiting for changes of what its jobs depend on. A change while a run goes on waits for its end, as with
// other watchers: jobs are not ended in the middle of what they do.
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, relative } from "node:path";
import * as v from "valibot";
import { exitCodes, messageOf, SortieError } from "../protocol/errors.ts";
import type { JobName, RunId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { oneLine } from "../protocol/text.ts";
import { type Change, type Changes, gatherChanges } from "./changes.ts";
import { ignoredFrom } from "./ignored.ts";
import { lookAgain } from "./look-again.ts";
import { recipeFile } from "./recipe/loader.ts";
import { isPackage } from "./recipe/location.ts";
import { isOwn } from "./recipe/own-place.ts";
import { anchored, touchedBy, type Watched } from "./touched.ts";
import { MARK, Told } from "./watched.ts";

const WATCH = /^--watch(=.*)?$/;

/**
 * Ends with Ctrl-C, and its exit code is 130. `own` are paths that the run itself writes; `say` gets whole lines. Throws
 * RECIPE_NOT_FOUND and WATCH_FAILED.
 */
export async function watchRecipe(path: string, own: readonly string[], say: (line: string) => void): Promise<number> {
  const recipe = recipeFile(path);
  const files = await watchFiles(recipe, own);
  const interrupted = Promise.withResolvers<void>();
  let isInterrupted = false;
  let child: ChildProcess | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    isInterrupted = true;
    // A terminal sends Ctrl-C to both; what comes twice at once is one to whoever runs jobs.
    child?.kill(signal);
    interrupted.resolve();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    for (let again: readonly string[] = []; ; ) {
      let run: RunId | undefined;
      const ended = Promise.withResolvers<unknown>();
      child = begin(again);
      child.once("error", (error) => ended.reject(new SortieError("INTERNAL", error.message, { cause: error })));
      child.once("exit", ended.resolve);
      child.on("message", (message) => {
        const told = v.parse(Told, message);
        if (told.type === "started") run = told.run;
        else files.learn(told);
      });
      await ended.promise;
      child = undefined;
      if (isInterrupted) return exitCodes.interrupted;
      if (run === undefined) files.forget();
      say("waiting for changes; Ctrl-C ends it");
      const change = await Promise.race([files.changes.next(), files.failed, interrupted.promise]);
      if (!change) return exitCodes.interrupted;
      // Without a run to go on from, everything is run.
      const { jobs } = run === undefined ? { jobs: "all" as const } : change;
      say(describe({ ...change, jobs }));
      again = jobs === "all" ? [] : ["--after", run ?? "", ...[...jobs].flatMap((job) => ["--from", job])];
    }
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    await files.close();
  }
}

function begin(again: readonly string[]): ChildProcess {
  const [, program = "", ...args] = process.argv;
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const own = args.slice(0, end).filter((one) => !WATCH.test(one));
  return spawn(process.execPath, [...process.execArgv, program, ...own, ...again, ...args.slice(end)], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...process.env, [MARK]: "1" },
  });
}

export interface WatchedFiles {
  readonly changes: Changes;
  /** Rejects with WATCH_FAILED. */
  readonly failed: Promise<never>;
  learn(told: Exclude<Told, { type: "started" }>): void;
  /** What could not begin may wait for any file, also for one that the recipe imports and that is not there. */
  forget(): void;
  close(): Promise<void>;
}

/** Watches the recipe's folder, and what it learns that jobs and the recipe depend on elsewhere. */
export async function watchFiles(recipe: string, own: readonly string[]): Promise<WatchedFiles> {
  const folder = dirname(recipe);
  const changes = gatherChanges();
  const ignored = ignoredFrom(folder, own);
  /** The recipe itself, and what it imports. */
  const source = new Set([recipe]);
  let jobs: readonly Watched[] | undefined;
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  const { watch } = await import("chokidar");
  const watcher = watch(folder, {
    ignoreInitial: true,
    ignored: (path, stats) => !source.has(path) && path !== folder && ignored.has(path, stats?.isDirectory() ?? false),
  });
  watcher.on("error", (error) =>
    failure.reject(
      new SortieError("WATCH_FAILED", `${folder} cannot be watched: ${messageOf(error)}.`, { cause: error }),
    ),
  );
  const told = (path: string): void => {
    if (path.endsWith("/.gitignore")) ignored.forget();
    try {
      const concerned = source.has(path) || !jobs ? "all" : touchedBy(path, jobs, folder).map(({ name }) => name);
      changes.add(path, concerned);
    } catch (error) {
      failure.reject(error);
    }
  };
  const again = lookAgain(watcher, told);
  watcher.on("all", (event, path) => {
    if (event === "addDir") again.add(path);
    if (event === "add") again.knows(path);
    if (event === "add" || event === "change" || event === "unlink") told(path);
  });
  const ready = new Promise<void>((resolve) => watcher.once("ready", resolve));
  const close = (): Promise<void> => {
    again.stop();
    return watcher.close();
  };
  await Promise.race([ready, failure.promise]).catch(async (error: unknown) => {
    await close();
    throw error;
  });

  return {
    changes,
    failed: failure.promise,
    learn(told) {
      if (told.type === "imported") {
        if (source.has(told.file) || isPackage(told.file) || isOwn(told.file)) return;
        source.add(told.file);
        watcher.add(told.file);
      } else {
        jobs = told.jobs;
        const bases = told.jobs.flatMap(({ inputs = [] }) => inputs.map((input) => anchored(folder, input).base));
        watcher.add([...new Set(bases)]);
      }
    },
    forget() {
      jobs = undefined;
    },
    close,
  };
}

function describe({ jobs, files, count }: Change): string {
  const near = files.map((file) => relative(".", file));
  const changed = `${listOf(near, count)} changed`;
  if (jobs === "all") return `${changed}: everything runs again`;
  const names: JobName[] = [...jobs];
  const needing = names.length === 1 ? "it" : "them";
  return `${changed}: ${listOf(names.slice(0, limits.namedChanges), names.length)}, what needs ${needing} and what did not pass`;
}

const listOf = (named: readonly string[], count: number): string =>
  oneLine([...named, ...(count > named.length ? [`${count - named.length} more`] : [])].join(", "));
