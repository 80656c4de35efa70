// Whether processes wait on their pipes, as the kernel tells it: tests of back-pressure count what was written then.
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/**
 * Resolves once the leader of a group and its children all wait, and have written no more since: blocked on their pipes.
 * Throws where one of them is over before.
 */
export async function isBlocked(group: number): Promise<void> {
  for (let last = ""; ; ) {
    const now = stateOf(group);
    if (now !== "" && now === last) return;
    last = now;
    await delay(50);
  }
}

/** What each process of the group has written so far; empty while one of them runs. */
function stateOf(group: number): string {
  const all = readFileSync(`/proc/${group}/task/${group}/children`, "utf8").trim().split(" ").filter(Boolean);
  const states = [String(group), ...all].map((pid) => {
    const state = /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
    const written = /^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1];
    return state === "S" && `${pid}: ${written}`;
  });
  return states.every(Boolean) ? states.join(", ") : "";
}
