// A job's secrets in what people see of a function's commands: the note of each, and errors.
import { afterEach, describe, expect, it } from "vitest";
import type { CommandError } from "../../coordinator/recipe/command-error.ts";
import { openShells, type Shell } from "../../coordinator/recipe/shell-function.ts";
import { redactionOf } from "../../protocol/redact.ts";
import { type LocalStarter, localStarter } from "../rig/local-starter.ts";

let starter: LocalStarter;
afterEach(() => starter[Symbol.asyncDispose]());

function shellThatHides(...values: string[]): Shell {
  starter = localStarter();
  return openShells([starter], redactionOf(values)?.text).shells[0] as Shell;
}

const failureOf = async (promise: PromiseLike<unknown>): Promise<CommandError> =>
  promise.then(
    () => expect.unreachable("it did not fail"),
    (error: CommandError) => error,
  );

describe("a secret of the job in a command", () => {
  it.each<[string, string]>([
    ["plain", "hush-hush-hush"],
    ["with quotes of the shell", "it's 'hush' \"now\""],
    ["of several lines", "-----BEGIN KEY-----\nhush'hush\n-----END KEY-----"],
    ["with what replacements give a meaning", "$&hush$1"],
  ])("is *** in its note and in its error, and itself for the command: %s", async (_what, value) => {
    const $ = shellThatHides(value);
    const shown = {
      note: "exit 3 '***' 'Bearer ***'",
      message: expect.stringMatching(/^exit 3 '\*\*\*' 'Bearer \*\*\*': exit 3/),
    };
    const error = await failureOf($`exit 3 ${value} ${`Bearer ${value}`}`);
    expect({ note: starter.started[0]?.spec.note, message: error.message }).toEqual(shown);
    expect(error.command).toBe("exit 3 '***' 'Bearer ***'");
    expect(await $(["printf", "%s", value]).text()).toBe(value);
    expect(starter.started[1]?.spec.note).not.toContain("hush");
    expect(starter.started[1]?.spec.note).toContain("***");
  });

  it("is not seen in part where the text is cut", async () => {
    // Characters that the path of this file, which an error tells, does not have.
    const value = "¤§¶×".repeat(30);
    const $ = shellThatHides(value);
    for (const before of [20, 90, 95, 950, 995]) {
      const error = await failureOf($`exit 3 ${"x".repeat(before)} ${value}`);
      expect(`${error.message} ${error.command} ${starter.started.at(-1)?.spec.note}`).not.toMatch(/[¤§¶×]/);
    }
  });

  it("is not seen in part where another one is a part of it", async () => {
    const $ = shellThatHides("passed", "passed-and-more");
    await $`true ${"passed-and-more"} ${"passed"}`;
    expect(starter.started[0]?.spec.note).toBe("true '***' '***'");
  });
});
