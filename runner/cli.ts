// `runner …`: the commands, each loaded when it is used.
import { runCommandLine } from "../protocol/command-line.ts";

await runCommandLine(
  "runner",
  [
    {
      command: "start",
      describe: "Serve jobs to the coordinators that are trusted",
      load: () => import("./commands/start.ts"),
    },
    {
      command: "drain",
      describe: "Finish what runs, take nothing new, and leave",
      load: () => import("./commands/drain.ts"),
    },
    {
      command: "id",
      describe: "Print this runner's peer ID, or give it a new key",
      load: () => import("./commands/id.ts"),
    },
    {
      command: "invite",
      describe: "Make a one-time invite for a coordinator",
      load: () => import("./commands/invite.ts"),
    },
    {
      command: "audit [action]",
      describe: "Who asked this runner for what, and whether that record is whole",
      load: () => import("./commands/audit.ts"),
    },
    {
      command: "policy <action> [file]",
      describe: "Check a policy file, or explain what would become of a job",
      load: () => import("./commands/policy.ts"),
    },
    {
      command: "trust <action> [peer] [name]",
      describe: "List, revoke or rename trusted coordinators",
      load: () => import("./commands/trust.ts"),
    },
  ],
  "State lives in $SORTIE_HOME, or the platform's state folder. A runner allows nothing that it was not told to allow.",
);
