// `.lines()` of `$`, over real processes of this machine.
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { linesOf } from "../../coordinator/recipe/command-lines.ts";
import { CommandError } from "../../coordinator/recipe/sdk.ts";
import { type OpenShells, openShells, type Shell } from "../../coordinator/recipe/shell-function.ts";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { isBlocked } from "../rig/blocked.ts";
import { type LocalStarter, localStarter } from "../rig/local-starter.ts";

let starter: LocalStarter;
let shell: OpenShells;
let $: Shell;

beforeEach(() => {
  starter = localStarter();
  shell = openShells([starter]);
  [$] = shell.shells as [Shell];
});
afterEach(() => starter[Symbol.asyncDispose]());

const allOf = async (lines: AsyncIterable<string>): Promise<string[]> => Array.fromAsync(lines);
const MiB = 1024 * 1024;

describe("the lines of a command", () => {
  it("come without their ends, the last one with an end or without", async () => {
    expect(await allOf($`printf 'a\n\n b \r\nc\rd\n'`.lines())).toEqual(["a", "", " b ", "c\rd"]);
    expect(await allOf($`printf 'a\nb'`.lines())).toEqual(["a", "b"]);
    expect(await allOf($`printf '\n'`.lines())).toEqual([""]);
    expect(await allOf($`true`.lines())).toEqual([]);
    expect(await allOf($`printf 'a\377\nb\303'`.lines())).toEqual(["a\ufffd", "b\ufffd"]);
  });

  it("are the same in whatever pieces their bytes come", async () => {
    const unit = fc.constantFrom("a", "é", "😀", "\n", "\r\n", "\r", "\ufeff", " ");
    await fc.assert(
      fc.asyncProperty(fc.string({ unit, maxLength: 30 }), fc.array(fc.nat(100)), async (text, cuts) => {
        const bytes = Buffer.from(text);
        const at = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort((a, b) => a - b);
        async function* pieces(): AsyncGenerator<Uint8Array> {
          for (const [index, from] of at.entries()) yield bytes.subarray(from, at[index + 1] ?? from);
        }
        const expected = text.split("\n");
        if (expected.at(-1) === "") expected.pop();
        expect(await allOf(linesOf(pieces(), "x", () => false))).toEqual(
          expected.map((line) => line.replace(/\r$/, "")),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it("come as they are written, while the command goes on", async () => {
    const command = $`echo first; read answer; echo "got $answer"`;
    const answer = Promise.withResolvers<string>();
    const answers = (async function* () {
      yield await answer.promise;
    })();
    const lines = command.stdin(answers).lines();
    expect(await lines.next()).toEqual({ done: false, value: "first" });
    answer.resolve("yes\n");
    expect(await lines.next()).toEqual({ done: false, value: "got yes" });
    expect(await lines.next()).toEqual({ done: true, value: undefined });
  });

  it("are all given before a failure is thrown", async () => {
    const seen: string[] = [];
    const reading = (async () => {
      for await (const line of $`echo a; echo b; exit 3`.lines()) seen.push(line);
    })();
    await expect(reading).rejects.toMatchObject({ name: "CommandError", code: 3 });
    expect(seen).toEqual(["a", "b"]);
    expect(await allOf($`echo a; exit 3`.nothrow().lines())).toEqual(["a"]);
    await shell.settled();
  });

  it("end the command where the loop is left, by break or by an error", async () => {
    for await (const line of $`yes`.lines()) {
      expect(line).toBe("y");
      break;
    }
    expect(starter.started[0]?.child.signalCode).toBe("SIGTERM");
    const reading = (async () => {
      for await (const line of $`yes`.lines()) throw new RangeError(line);
    })();
    await expect(reading).rejects.toThrow(RangeError);
    expect(starter.started[1]?.child.signalCode).toBe("SIGTERM");
    await shell.settled();
  });

  it("slow the command down to the speed at which they are taken", async () => {
    const total = 64 * MiB;
    const lines = $`yes 0123456789abcde | head -c ${total}; echo end >&2`.lines();
    await lines.next();
    const { child, given } = starter.started[0] as LocalStarter["started"][number];
    await isBlocked(child.pid as number);
    // What one piece has, and nothing of all the rest.
    expect(given).toBeLessThan(MiB);
    expect(starter.started[0]?.given).toBe(given);
    let count = 1;
    for await (const line of lines) count += line.length === 15 ? 1 : 0;
    expect(count).toBe(total / 16);
  });

  it("are at most 16 MiB long each", async () => {
    const [line] = await allOf($`head -c ${limits.collectedBytes} /dev/zero`.lines());
    expect(line?.length).toBe(limits.collectedBytes);
    await expect(allOf($`cat /dev/zero`.lines())).rejects.toMatchObject({ code: "OUTPUT_TOO_LONG" });
    expect(starter.started.at(-1)?.child.signalCode).toBe("SIGTERM");
  });

  it("are whole where the command was lost: half a line is not given", async () => {
    const lines = $`printf 'whole\nha'; sleep 1000`.lines();
    expect((await lines.next()).value).toBe("whole");
    starter.started[0]?.lose(new SortieError("CONNECTION_LOST", "w1 was not reached again."));
    await expect(lines.next()).rejects.toMatchObject({ code: "CONNECTION_LOST" });
  });

  it.each<[string, string, (command: ReturnType<Shell>) => unknown, string]>([
    ["its time was up", "printf 'whole\\nha'; sleep 1000", () => starter.started.at(-1)?.expire(), "timeout"],
    ["it was ended", "printf 'whole\\nha'; sleep 1000", (command) => command.kill(), "cancelled"],
    ["a signal ended it", "printf 'whole\\nha'; kill -SEGV $$", () => {}, "signaled"],
  ])("are whole where %s: half a line is not given", async (_how, text, atLine, reason) => {
    for (const throws of [true, false]) {
      const command = $(["sh", "-c", text]);
      if (!throws) command.nothrow();
      const seen: string[] = [];
      const reading = (async () => {
        for await (const line of command.lines()) {
          seen.push(line);
          atLine(command);
        }
      })();
      if (throws) await expect(reading).rejects.toMatchObject({ exit: { reason } });
      else await reading;
      expect(seen).toEqual(["whole"]);
    }
  });

  it("end a command whose lines nobody takes once the function is over, and that is told", async () => {
    $`yes`.lines();
    await expect(shell.settled()).rejects.toThrow(/^yes was ended, because nobody took its \.lines\(\)/);
    expect(starter.started[0]?.child.signalCode).toBe("SIGTERM");
  });

  it("end it also where it has written, and waits for them to be taken", async () => {
    $`yes`.lines();
    while (!starter.started[0]?.given) await new Promise((resolve) => setTimeout(resolve, 5));
    await expect(shell.settled()).rejects.toThrow(/nobody took its/);
  });

  it("end a command whose next line nobody asks for once the function is over, which is no failure", async () => {
    const lines = $`yes`.lines();
    expect(await lines.next()).toEqual({ done: false, value: "y" });
    await shell.settled();
    expect(starter.started[0]?.child.signalCode).toBe("SIGTERM");
    // Whoever comes back for more does not take what there was for all of it.
    const rest = (async () => {
      for await (const line of lines) expect(line).toBe("y");
    })();
    await expect(rest).rejects.toThrow(/^yes was ended, because nobody took the rest of its \.lines\(\)/);
  });

  it("end it also where the last one is taken after the function is over", async () => {
    void (async () => {
      const lines = $`yes`.lines();
      for (let taken = 0; taken < 100_000; taken++) await lines.next();
    })();
    await shell.settled();
    expect(starter.started[0]?.child.signalCode).toBe("SIGTERM");
  });

  it("are waited for where a loop takes its time over each, after the function is over", async () => {
    const seen: string[] = [];
    void (async () => {
      for await (const line of $`echo a; echo b; echo c`.lines()) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        seen.push(line);
      }
    })();
    await shell.settled();
    expect(seen.length).toBeGreaterThanOrEqual(2);
    expect(starter.started[0]?.child.exitCode).toBe(0);
  });

  it("throw what a command before it in its pipe came to", async () => {
    const error: unknown = await allOf($`echo a; exit 4`.pipe($`cat`).lines()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CommandError);
    expect(error).toMatchObject({ command: "echo a; exit 4", code: 4 });
  });
});
