// `runner invite`: one more coordinator for the runner that runs.
import { SortieError } from "../../protocol/errors.ts";
import { inviteCommand } from "../../protocol/invite-command.ts";
import { findRunning } from "../running.ts";

export const { builder, handler } = inviteCommand({
  side: "runner",
  groups: true,
  command: (code, address) => `npx coordinator add --code ${code} ${address}`,
  listening(folder) {
    const running = findRunning(folder);
    if (running) return running;
    throw new SortieError("NOT_FOUND", `No runner runs on ${folder}.`, {
      hint: "Start it with `runner start`; it prints an invite itself.",
    });
  },
});
