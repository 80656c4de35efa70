// What a job's command reads, from the coordinator's side: its recipe's text, a file, or a secret. prepare.ts asks whether the
// files are there; dispatch.ts sends them.
import { createReadStream, statSync } from "node:fs";
import { SortieError } from "../protocol/errors.ts";
import type { PlanJob } from "./plan.ts";
import type { Secrets } from "./secrets.ts";

/** Throws RECIPE_INVALID for a job whose file is not there. */
export function checkStdin(jobs: readonly PlanJob[]): void {
  for (const { name, stdin, at } of jobs) {
    if (!stdin || typeof stdin === "string" || "secret" in stdin) continue;
    const why = whyNotReadable(stdin.file);
    if (why !== undefined)
      throw new SortieError("RECIPE_INVALID", `${name} reads ${stdin.file}, which ${why}.`, {
        hint: "Correct the path: it is relative to the recipe's folder.",
        ...(at ? { at } : {}),
      });
  }
}

/** Undefined for a job whose stdin is empty. */
export function stdinOf({ stdin, secrets = [] }: PlanJob, read: Secrets): AsyncIterable<Uint8Array> | undefined {
  if (stdin === undefined) return undefined;
  if (typeof stdin === "object" && "secret" in stdin) {
    const secret = secrets.find(({ as }) => as === "stdin");
    return once(Buffer.from((secret && read.value(secret.source)) ?? ""));
  }
  return typeof stdin === "string" ? once(Buffer.from(stdin)) : createReadStream(stdin.file);
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

function whyNotReadable(file: string): string | undefined {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (!stats) return "is not there";
  return stats.isDirectory() ? "is a folder" : undefined;
}
