// Short scripts on the host besides the commands of a job: they send signals, end trees, and remove directories.
import { randomBytes } from "node:crypto";
import type { Ending } from "../../../../protocol/exit.ts";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { endingOf } from "../ending.ts";
import { asLine, BOOTSTRAP, endScript, type Tree } from "./script.ts";
import type { HostSessions } from "./sessions.ts";

/** What begins our own lines among those of a login shell's profile. */
export const newNonce = (): string => `sortie-${randomBytes(12).toString("hex")}`;

/** Runs a script to its end and gives its lines. Rejects where the host cannot be had, or it did not come to its end. */
export async function runScript(
  host: HostSessions,
  script: string,
  withinMs: number = limits.sshScriptMs,
): Promise<string[]> {
  const nonce = newNonce();
  const { channel } = await host.exec(BOOTSTRAP, AbortSignal.timeout(limits.sshScriptMs), true);
  channel.end(asLine(`echo "${nonce} begin"\n${script}\necho "${nonce} end"\n`));
  channel.stderr.resume();
  let held: Buffer = Buffer.alloc(0);
  channel.on("data", (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]).subarray(-limits.sshScriptBytes);
  });
  const timer = setTimeout(() => channel.close(), withinMs);
  await new Promise((resolve) => channel.once("close", resolve));
  clearTimeout(timer);
  const text = held.toString("utf8");
  const begin = text.indexOf(`${nonce} begin\n`);
  const end = text.lastIndexOf(`${nonce} end\n`);
  if (begin < 0 || end < begin) throw new Error(`${host.name} did not run a script to its end`);
  return text
    .slice(begin + nonce.length + 7, end)
    .split("\n")
    .filter(Boolean);
}

/** Ends what is left of a tree, then does what `afterwards` says; gives what was ended, and the lines of that. */
export async function endTree(
  host: HostSessions,
  tree: Tree,
  graceMs: number,
  afterwards = "",
): Promise<{ readonly ending: Ending; readonly lines: readonly string[] }> {
  const all = await runScript(
    host,
    endScript(tree, graceMs) + afterwards,
    graceMs + (afterwards ? limits.sshRemoveMs : limits.sshScriptMs),
  );
  const ended: Ending["ended"] = [];
  const survivors: Ending["survivors"] = [];
  const lines: string[] = [];
  for (const line of all) {
    const [, what, pid, name = ""] = /^(term|kill|left) (\d+) ?(.*)$/.exec(line) ?? [];
    if (what === undefined) lines.push(line);
    else {
      const process = { pid: Number(pid), name: oneLine(name).slice(0, 64) };
      if (what === "left") survivors.push(process);
      else ended.push({ ...process, by: what === "term" ? "TERM" : "KILL" });
    }
  }
  return { ending: endingOf(ended, survivors), lines };
}
