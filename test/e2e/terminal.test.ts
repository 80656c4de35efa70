import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig, root, until } from "../rig/rig.ts";

it("lets a job clean up at one Ctrl-C in a terminal, also when npx started the command", async () => {
  await using rig = new Rig();
  const path = rig.recipe(`import { job, recipe } from "sortie";
    export default recipe({ tidy: job({ run: "trap 'sleep 0.5; echo tidied up; exit 0' TERM; echo ready; while :; do sleep 0.1; done # 5871" }) });`);
  const socket = `sortie-${randomUUID()}`;
  const tmux = (...args: string[]): string => execFileSync("tmux", ["-L", socket, ...args], { encoding: "utf8" });
  const command = `cd ${root}; SORTIE_HOME=${rig.home} npx coordinator run ${path} --format plain; echo "code=$?"; read end`;
  // The shell in front lives through Ctrl-C, as an interactive one does.
  tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "30", "sh", "-c", `trap : INT; ${command}`);
  try {
    const screen = (): string => tmux("capture-pane", "-p");
    expect(await until(screen, (text) => text.includes("│ ready"))).toContain("│ ready");
    tmux("send-keys", "C-c");
    const over = await until(screen, (text) => text.includes("code="));
    expect(over).toContain("│ tidied up");
    expect(over).toContain("run cancelled: 1 cancelled");
    expect(over).toContain("code=130");
    expect(processesOf("# 5871")).toEqual([]);
  } finally {
    tmux("kill-server");
  }
});
