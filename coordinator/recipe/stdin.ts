// The option `stdin` of a job: what its command reads. job() checks it, plan-job.ts keeps it, and stdin-source.ts reads it.
import { limits } from "../../protocol/limits.ts";
import { checkNames, isRecord, shown, type Wrong } from "./check.ts";
import { isSecret, type Secret } from "./secret.ts";

/** A text, a file of the coordinator's machine (a path relative to the recipe's folder, or an absolute one), or a secret. */
export type StdinOptions = string | { readonly file: string } | Secret;

export function checkStdin(value: unknown, steps: number, wrong: Wrong): void {
  if (value === undefined) return;
  if (steps !== 1) throw wrong("stdin is for a job of one command: with several nobody could tell which reads it.");
  if (isSecret(value)) return;
  if (typeof value === "string") {
    if (Buffer.byteLength(value) > limits.stdinTextBytes)
      throw wrong(
        `stdin is a text of more than ${limits.stdinTextBytes} bytes: write it to a file, stdin: { file: "PATH" }.`,
      );
    return;
  }
  if (!isRecord(value)) throw wrong(`stdin must be a string, { file: "PATH" } or a secret, not ${shown(value)}.`);
  checkNames("stdin", value, ["file"], wrong);
  if (typeof value["file"] !== "string" || value["file"] === "")
    throw wrong(`stdin.file must be a path, not ${shown(value["file"])}.`);
}
