// Runs a recipe of recipes/ as a person does, on the embedded runner or on the rig's runners.
import { execFileSync } from "node:child_process";
import type { Rig } from "../rig/rig.ts";

export interface RecipeRun {
  readonly code: number | null;
  /** What each job came to. */
  readonly jobs: Readonly<
    Record<string, { readonly outcome: string; readonly output?: unknown; readonly message?: string }>
  >;
  /** What all jobs showed. */
  readonly shown: string;
}

interface Event {
  readonly type: string;
  readonly job: string;
  readonly outcome: string;
  readonly text?: string;
}

/** Its options, for `--set`. */
export const setOf = (params: Readonly<Record<string, string | number>>): string[] =>
  Object.entries(params).flatMap(([key, value]) => ["--set", `${key}=${value}`]);

export async function runRecipe(
  rig: Rig,
  name: string,
  params: Readonly<Record<string, string | number>> = {},
  args: readonly string[] = [],
): Promise<RecipeRun> {
  const run = await rig.coordinator(["run", `recipes/${name}.ts`, "--format", "json", ...setOf(params), ...args]);
  const events = run.text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Event);
  return {
    code: run.code,
    jobs: Object.fromEntries(events.filter(({ type }) => type === "job-ended").map((event) => [event.job, event])),
    shown: events.map(({ type, text }) => (type === "job-output" ? text : "")).join("") + run.stderr,
  };
}

/** What a job that passed gave. */
export const outputOf = (jobs: RecipeRun["jobs"], job: string): Readonly<Record<string, unknown>> =>
  (jobs[job]?.output ?? {}) as Record<string, unknown>;

/** git with an author, whoever runs the tests. */
export const git = (folder: string, ...args: string[]): string =>
  execFileSync("git", ["-c", "user.name=test", "-c", "user.email=test@example.invalid", ...args], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  }).trim();
