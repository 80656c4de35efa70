// A job's own directory, and its environment.
import { chmodSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Environment } from "../../protocol/command.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import type { OwnPart } from "./backends/backend.ts";
import { COMMAND_MARKER, MARKER } from "./process-tree.ts";

/** The whole environment of a job on this machine: nothing of the runner's own but what every program needs. */
export const environmentOf = (
  request: JobRequest,
  own?: OwnPart,
  runner: NodeJS.ProcessEnv = process.env,
): Record<string, string> => ({
  PATH: runner["PATH"] || "/usr/local/bin:/usr/bin:/bin",
  HOME: runner["HOME"] || homedir(),
  LANG: runner["LANG"] || "C.UTF-8",
  TERM: runner["TERM"] || "dumb",
  ...variablesOf(request, own),
});

/** A job's variables wherever it runs: added to what its place (an image, a host) gives every program. */
export function variablesOf(request: JobRequest, own?: OwnPart): Record<string, string> {
  return Object.fromEntries([
    ["CI", "true"],
    ...request.env,
    ...(own?.env ?? []),
    ["SORTIE", "1"],
    ["SORTIE_RUN", request.run],
    ["SORTIE_JOB", request.job],
    ["SORTIE_ATTEMPT", String(request.attempt)],
    [MARKER, request.attemptId],
    ...(own ? [[COMMAND_MARKER, own.attemptId]] : []),
  ]);
}

/** With the secrets that are variables among the others, of the job and of its services. */
export function withVariables(request: JobRequest): JobRequest {
  const { container, env, secrets = [] } = request;
  const of = (service: string | undefined): Environment =>
    secrets.flatMap(
      (one): Environment => (one.as === "env" && one.service === service ? [[one.variable, one.value]] : []),
    );
  if (secrets.length === 0) return request;
  const services = container?.services.map((one) => ({ ...one, env: [...one.env, ...of(one.name)] })) ?? [];
  return {
    ...request,
    env: [...env, ...of(undefined)],
    ...(container ? { container: { ...container, services } } : {}),
  };
}

/** What the environment of everything that a command starts holds, and nothing beside it: `NAME=VALUE`. */
export const markOf = (request: JobRequest, own?: OwnPart): string =>
  own ? `${COMMAND_MARKER}=${own.attemptId}` : `${MARKER}=${request.attemptId}`;

/** Makes the attempt's directory, 0700. */
export function makeWorkFolder(work: string, attemptId: string): string {
  const path = join(work, attemptId);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

/** Removes it with all that is in it, also where the job took its own permissions away. */
export async function removeWorkFolder(path: string): Promise<void> {
  try {
    // Most jobs leave nothing there, and this is one system call.
    return rmdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
  }
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    allowRemoval(path);
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  }
}

function allowRemoval(folder: string): void {
  chmodSync(folder, 0o700);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) allowRemoval(join(folder, entry.name));
  }
}
