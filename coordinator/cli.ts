// `coordinator …`: the commands, each loaded when it is used.
import { runCommandLine } from "../protocol/command-line.ts";
import { SORTIE_FAILED } from "../protocol/exit.ts";

await runCommandLine(
  "coordinator",
  [
    {
      command: "run [recipe] [job..]",
      describe: "Run a recipe, or jobs of it and what they need; without one, list those in recipes/",
      load: () => import("./commands/run.ts"),
    },
    {
      command: "check <recipe>",
      describe: "Check a recipe's types and plan it; runs nothing",
      load: () => import("./commands/check.ts"),
    },
    {
      command: "exec <runner> [command..]",
      describe: "Run one command on a runner: exec RUNNER -- COMMAND…",
      load: () => import("./commands/exec.ts"),
      failureCode: SORTIE_FAILED,
    },
    {
      command: "logs [job]",
      describe: "Show a job's output; -f follows it, --from RUNNER asks the runner itself",
      load: () => import("./commands/logs.ts"),
    },
    {
      command: "attach <run>",
      describe: "Show a run that another process conducts",
      load: () => import("./commands/attach.ts"),
    },
    {
      command: "resume <run>",
      describe: "Go on with a run whose coordinator was killed",
      load: () => import("./commands/resume.ts"),
    },
    {
      command: "cancel <what>",
      describe: "Cancel a run, or one job of it, from any terminal",
      load: () => import("./commands/cancel.ts"),
    },
    { command: "runs", describe: "List past and present runs", load: () => import("./commands/runs.ts") },
    { command: "show <run>", describe: "Show one run and its jobs", load: () => import("./commands/show.ts") },
    {
      command: "runners",
      describe: "List the known runners and what they do",
      load: () => import("./commands/runners.ts"),
    },
    {
      command: "add <invite>",
      describe: "Trust a runner by its invite URL or a code, and be trusted",
      load: () => import("./commands/add.ts"),
    },
    {
      command: "invite",
      describe: "Make a one-time invite for a runner that this side cannot dial, and wait for it",
      load: () => import("./commands/invite.ts"),
    },
    {
      command: "listen",
      describe: "Keep runners that dial by themselves connected, for every command of this coordinator",
      load: () => import("./commands/listen.ts"),
    },
    {
      command: "trust <action> [peer] [name]",
      describe: "List, revoke or rename trusted runners",
      load: () => import("./commands/trust.ts"),
    },
    {
      command: "id",
      describe: "Print this coordinator's peer ID, or give it a new key",
      load: () => import("./commands/id.ts"),
    },
  ],
  "State lives in $SORTIE_HOME, or the platform's state folder. Exit codes: 0 passed, 1 a job failed, 2 the recipe or the command line is wrong, 3 no runner could do it, 130 interrupted; `exec` exits as its command did, and 125 when Sortie itself failed.",
);
