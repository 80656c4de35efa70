// A job's secrets in what people see of a function's commands: the note of each, and errors.
import { afterEach, describe, expect, it } from "vitest";
import type { CommandError } from "../../coordinator/recipe/command-error.ts";
import { openShells, type Shell } from "../../coordinator/recipe/shell-function.ts";
import { secretHider } from "../../coordinator/secrets.ts";
import { type LocalStarter, localStarter } from "../rig/local-starter.ts";

let starter: LocalStarter;
afterEach(() => starter[Symbol.asyncDispose]());

function shellThatHides(values: Record<string, string>): Shell {
  starter = localStarter();
  const secrets = Object.keys(values).map((from) => ({ name: from, from }));
  return openShells([starter], secretHider({ name: "deploy", secrets }, values)).shells[0] as Shell;
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
    const $ = shellThatHides({ TOKEN: value });
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
    const value = "hush".repeat(30);
    const $ = shellThatHides({ TOKEN: value });
    for (const before of [20, 90, 95, 950, 995]) {
      const error = await failureOf($`exit 3 ${"x".repeat(before)} ${value}`);
      expect(`${error.message} ${error.command} ${starter.started.at(-1)?.spec.note}`).not.toContain("hu");
    }
  });

  it("is not seen in part where another one is a part of it", async () => {
    const $ = shellThatHides({ SHORT: "pass", LONG: "pass-and-more" });
    await $`true ${"pass-and-more"} ${"pass"}`;
    expect(starter.started[0]?.spec.note).toBe("true '***' '***'");
  });
});

it("a job's secrets are those of its places and its notifications, too", () => {
  const planned = {
    name: "deploy",
    secrets: [{ name: "A", from: "A" }],
    also: [{ secrets: [{ name: "B", from: "B" }] }],
  };
  const hide = secretHider(planned as never, { A: "first", B: "second" });
  expect(hide("first second third")).toBe("*** *** third");
});
