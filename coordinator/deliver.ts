// Delivers one notice, by a command or to an address. A failure is a sentence, never a throw: it must not change how a run
// came out.
import { StringDecoder } from "node:string_decoder";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { within } from "../protocol/within.ts";
import { awaitAlone } from "./command-alone.ts";
import type { Notice } from "./notice.ts";
import type { Argv } from "./recipe/place.ts";

/** Runs the command in `folder`. Gives why it could not be told, or nothing. */
export async function deliverByCommand(
  [program, ...args]: Argv,
  notice: Notice,
  folder: string,
): Promise<string | undefined> {
  const { execa } = await import("execa");
  const { run, outcome } = notice;
  const job = notice.type === "job" ? { SORTIE_JOB: notice.job } : {};
  let said = "";
  const child = execa(program, args, {
    cwd: folder,
    env: { SORTIE_RUN: run, SORTIE_OUTCOME: outcome, ...job },
    input: `${JSON.stringify(notice)}\n`,
    stdout: "ignore",
    timeout: limits.notifyCommandMs,
    forceKillAfterDelay: limits.closeMs,
    buffer: false,
    reject: false,
  });
  const decoder = new StringDecoder("utf8");
  child.stderr.on("data", (bytes: Buffer) => {
    said = (said + decoder.write(bytes)).slice(-limits.notifySaidCharacters);
  });
  awaitAlone(child, [child.stderr]);
  const result = await within(child, limits.notifyCommandMs + 2 * limits.closeMs);
  if (result?.exitCode === 0) return undefined;
  const last = said.trim().split("\n").at(-1) ?? "";
  const why =
    !result || result.timedOut
      ? `it did not end within ${limits.notifyCommandMs / 1_000} s`
      : result.exitCode !== undefined
        ? `exit ${result.exitCode}`
        : result.signal
          ? `signal ${result.signal}`
          : result.originalMessage;
  return last === "" ? why : `${why}: ${last}`;
}

/** Posts it, up to three times. Gives why it could not be told, without the address, or nothing. */
export async function deliverTo(url: string, notice: Notice): Promise<string | undefined> {
  const body = JSON.stringify(notice);
  let problem: string | undefined;
  for (let attempt = 0; attempt <= limits.notifyRetries; attempt++) {
    if (attempt > 0) await delay(limits.notifyBackoffMs * 2 ** (attempt - 1));
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        // Followed, it would become a GET, which tells nobody anything.
        redirect: "manual",
        signal: AbortSignal.timeout(limits.notifyMs),
      });
      await response.body?.cancel();
      if (response.ok) return undefined;
      problem = `HTTP ${response.status}`;
      // Asked again, it would say the same.
      if (response.status < 500 && response.status !== 408 && response.status !== 429) return problem;
    } catch (error) {
      problem = reasonOf(error);
    }
  }
  return `${problem}, asked ${limits.notifyRetries + 1} times`;
}

/** fetch says only that it failed; its cause says why. */
function reasonOf(error: unknown): string {
  if (error instanceof Error && error.name === "TimeoutError") return `no answer within ${limits.notifyMs / 1_000} s`;
  const { cause } = error as { cause?: { code?: string } };
  return cause?.code ?? messageOf(cause ?? error);
}
