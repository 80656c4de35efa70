// What a launch script says when it does not start a command, in the words of the local backend.
import type { Refusal } from "../backend.ts";
import type { Launch } from "./script.ts";

export function refusalOf(why: string, { command, directory, nice }: Omit<Launch, "nonce">): Refusal {
  const program = "argv" in command ? (command.argv[0] ?? "") : "/bin/sh";
  const path = "path" in directory ? directory.path : "";
  const workdir = (message: string): Refusal => ({ stage: "workdir", code: null, message });
  const refused = (code: 126 | 127, message: string): Refusal => ({
    stage: "command",
    code,
    message: `${program}: ${message}`,
  });
  switch (why) {
    case "workdir make":
      return workdir("no directory could be made on the host, in its TMPDIR or /tmp");
    case "workdir missing":
      return workdir(`the working directory ${path} is not there`);
    case "workdir file":
      return workdir(`the working directory ${path} is no directory`);
    case "workdir denied":
      return workdir(`the working directory ${path} cannot be used (EACCES)`);
    case "command 126":
      return refused(126, "not executable");
    case "command access":
      return refused(126, "cannot be executed");
    case "command interpreter":
      return refused(127, "its interpreter was not found");
    case "large":
      return {
        stage: "spawn",
        code: null,
        message: `${program}: its arguments and variables are too long for the host (E2BIG)`,
      };
    case "secrets":
      return {
        stage: "spawn",
        code: null,
        message: "the files of its secrets could not be made on the host, in /dev/shm, its TMPDIR or /tmp",
      };
    case "nice":
      return { stage: "spawn", code: null, message: `${program}: the host does not allow a nice value of ${nice}` };
    default:
      return refused(127, "command not found");
  }
}
