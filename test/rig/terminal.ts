// A real terminal for a test, by tmux.
import { execFileSync, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { expect } from "vitest";
import { type Rig, root, until } from "./rig.ts";

/** A terminal of its own with a shell in it, which lives through Ctrl-C. */
export function terminal(rig: Rig, command: string) {
  const socket = `sortie-${randomUUID()}`;
  const tmux = (...args: string[]): string => execFileSync("tmux", ["-L", socket, ...args], { encoding: "utf8" });
  const whole = `cd ${root}; export SORTIE_HOME=${rig.home}; unset CI; node() { ${process.execPath} "$@"; }; ${command}; echo "code=$?"; read end`;
  tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "30", "sh", "-c", `trap : INT; ${whole}`);
  return {
    type: (text: string) => tmux("send-keys", "-l", text),
    press: (key: string) => tmux("send-keys", key),
    /** The screen once it has the text; the test fails where it never does. */
    async shows(text: string | RegExp): Promise<string> {
      const look = (screen: string): boolean => (typeof text === "string" ? screen.includes(text) : text.test(screen));
      const screen = await until(() => tmux("capture-pane", "-p"), look);
      expect(screen).toMatch(text);
      return screen;
    },
    title: () => tmux("display-message", "-p", "#{pane_title}"),
    /** What programs in it have put there, by OSC 52. */
    clipboard: () => spawnSync("tmux", ["-L", socket, "show-buffer"], { encoding: "utf8" }).stdout,
    // It may have ended by itself.
    [Symbol.dispose]: () => void spawnSync("tmux", ["-L", socket, "kill-server"]),
  };
}
