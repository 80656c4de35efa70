// `$` over real processes of this machine: how commands start, how they are read, and how they end. (A rejection that
// nobody handles fails the file by itself.)
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type } from "arktype";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from "vitest";
import { z } from "zod";
import type { CommandResult } from "../../coordinator/recipe/command.ts";
import { CommandError } from "../../coordinator/recipe/sdk.ts";
import { type OpenShells, openShells, type Shell } from "../../coordinator/recipe/shell-function.ts";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { type LocalStarter, localStarter } from "../rig/local-starter.ts";

let folder: string;
let starter: LocalStarter;
let shell: OpenShells;
let $: Shell;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sortie-dollar-"));
  starter = localStarter();
  shell = openShells([starter]);
  [$] = shell.shells as [Shell];
});
afterEach(async () => {
  await starter[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const failureOf = async (promise: PromiseLike<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.unreachable("it did not fail"),
    (error: unknown) => error,
  );
const commandError = async (promise: PromiseLike<unknown>): Promise<CommandError> => {
  const error = await failureOf(promise);
  expect(error).toBeInstanceOf(CommandError);
  return error as CommandError;
};
const lost = (): SortieError => new SortieError("CONNECTION_LOST", "w1 was not reached again.");

describe("a command of $", () => {
  it("starts by itself, and gives how it came out", async () => {
    const result = await $`echo problem >&2; echo out`;
    expect(result).toMatchObject({ code: 0, exit: { reason: "exited", code: 0 }, stderr: "problem\n", piped: [] });
    expect(result.durationMs).toBeGreaterThan(0);
    expectTypeOf(result).toEqualTypeOf<CommandResult>();
    const marker = join(folder, "marker");
    $`touch ${marker}`;
    await shell.settled();
    expect(existsSync(marker)).toBe(true);
  });

  it("can be awaited again, and runs once", async () => {
    const command = $`echo x >> ${join(folder, "times")}`;
    expect(await command).toEqual(await command);
    await shell.settled();
    expect(readFileSync(join(folder, "times"), "utf8")).toBe("x\n");
  });

  it("throws a CommandError that says which, how it ended, and where the recipe starts it", async () => {
    const error = await commandError($`echo why >&2; exit ${7}`);
    expect(error.message).toMatch(/^echo why >&2; exit '7': exit 7 \(\/.*\/dollar\.test\.ts:\d+:\d+\)$/);
    expect(error).toMatchObject({ command: "echo why >&2; exit '7'", code: 7, stderr: "why\n", name: "CommandError" });
    expect(error.exit.reason).toBe("exited");
  });

  it("is named in one short line, without what its variables are", async () => {
    const error = await commandError(
      $`exit 1
      ${"x".repeat(500)}`.env({ TOKEN: "hush-hush" }),
    );
    expect(error.message).toMatch(/^exit 1 'x+…: exit 1 \(/);
    expect(error.command.length).toBeLessThanOrEqual(101);
    expect(JSON.stringify({ ...error, message: error.message, stack: error.stack })).not.toContain("hush-hush");
  });

  it("keeps the last 4 KiB of its standard error", async () => {
    const { stderr } = await $`seq 1 20000 >&2; echo the end >&2`;
    expect(Buffer.byteLength(stderr)).toBe(4096);
    expect(stderr).toMatch(/\n19999\n20000\nthe end\n$/);
  });

  it("does not throw with nothrow, however it ends", async () => {
    expect(await $`exit 3`.nothrow()).toMatchObject({ code: 3 });
    expect(await $`kill -SEGV $$`.nothrow()).toMatchObject({
      code: null,
      exit: { reason: "signaled", signal: "SEGV" },
    });
    expect(await $(["no-such-program-anywhere"]).nothrow()).toMatchObject({ code: 127 });
    expect(await $`printf kept; exit 3`.nothrow().text()).toBe("kept");
  });

  it("tells a signal, and a program that is not there, from an exit code", async () => {
    expect(await commandError($`kill -SEGV $$`)).toMatchObject({ code: null, exit: { signal: "SEGV" } });
    expect((await commandError($(["no-such-program-anywhere"]))).message).toMatch(
      /^no-such-program-anywhere: never started/,
    );
  });

  it("is argv that no shell sees, as a list", async () => {
    expect(await $(["printf", "%s|", "$HOME", "a b", "", "'"]).text()).toBe("$HOME|a b||'|");
    const wrong = $ as (command: unknown) => unknown;
    for (const what of ["ls -la", undefined, null, {}, [], [""], ["echo", 3], 7])
      expect(() => wrong(what)).toThrow(/^\$ takes a/);
    await nextTurn();
    expect(starter.started.length).toBe(1);
  });

  it("has variables beside those of the job, the last one counting, and a directory", async () => {
    const command = $`echo "$A$B"; pwd`.env({ A: "a b", B: "no" }).env({ B: "'$c'" }).cwd(folder);
    expect(await command.text()).toBe(`a b'$c'\n${folder}`);
  });

  it("is ended with all that it started when its own time is up", async () => {
    const error = await commandError($`sleep 1000 & sleep 1000; echo never`.timeout("100ms"));
    expect(error).toMatchObject({ exit: { reason: "timeout", timeoutMs: 100 } });
    expect(error.message).toContain("timed out after 0.1 s");
  });

  it("gets signals, also those that were sent before it started", async () => {
    const early = $`trap 'echo hup; exit 4' HUP; while :; do sleep 0.01; done`.nothrow();
    const reading = $`trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.01; done`;
    const lines: string[] = [];
    for await (const line of reading.lines()) {
      lines.push(line);
      if (line === "ready") reading.signal("USR1");
    }
    expect(lines).toEqual(["ready", "usr1"]);
    // The trap may be set or not: it was ended by HUP either way.
    early.signal("HUP");
    expect(["signaled", "exited"]).toContain((await early).exit.reason);
    const before = $`while :; do sleep 0.01; done`.nothrow().signal("INT");
    expect((await before).exit).toMatchObject({ reason: "signaled", signal: "INT" });
    for (const name of ["SIGTERM", "FOO", "", undefined, 9])
      expect(() => reading.signal(name as never)).toThrow(/without SIG/);
  });

  it("is ended by kill, before it started and later, and once", async () => {
    const before = $`sleep 1000`;
    expect(await commandError(before.kill())).toMatchObject({ exit: { reason: "cancelled" } });
    const command = $`echo ready; sleep 1000`.nothrow();
    for await (const line of command.lines()) if (line === "ready") command.kill();
    expect(await command.kill()).toMatchObject({ code: null, exit: { reason: "cancelled", by: "run" } });
  });

  it("says what of it is shown, what is only logged, and what goes to another command alone", async () => {
    await $`true`;
    await $`true`.quiet();
    await $`true`.text();
    await $`true`.pipe($`cat`.quiet());
    expect(starter.started.map(({ spec }) => [spec.stdout, spec.stderr, spec.note !== undefined])).toEqual([
      ["shown", "shown", true],
      ["logged", "logged", false],
      ["logged", "shown", true],
      ["passed", "shown", true],
      ["logged", "logged", false],
    ]);
  });
});

describe("what is asked of a command wrongly", () => {
  it.each<[string, (command: ReturnType<Shell>) => unknown, RegExp]>([
    ["a time that is none", (command) => command.timeout("soon" as never), /\.timeout\(\) takes .*soon/],
    ["no time at all", (command) => command.timeout(0), /\.timeout\(\)/],
    ["a variable without a text", (command) => command.env({ A: undefined as never }), /\.env\(\) has A, .*undefined/],
    [
      "a variable that cannot be",
      (command) => command.env({ "A B": "x" }),
      /\.env\(\) cannot have A B: a variable's name/,
    ],
    ["a variable of Sortie's own", (command) => command.env({ SORTIE_X: "x" }), /no SORTIE_ variable/],
    ["a variable with NUL", (command) => command.env({ A: "a\0b" }), /without a NUL/],
    ["an empty directory", (command) => command.cwd(""), /\.cwd\(\) takes a path/],
    [
      "a directory that is no text",
      (command) => command.cwd(undefined as never),
      /\.cwd\(\) takes a path, not undefined/,
    ],
    ["an input that is none", (command) => command.stdin(7 as never), /\.stdin\(\) takes/],
    ["a second input", (command) => command.stdin("a").stdin("b"), /has a standard input already/],
    ["a schema that is none", (command) => command.json({} as never), /\.json\(\) takes a schema/],
    ["a pipe to what is no command", (command) => command.pipe("cat" as never), /\.pipe\(\) takes another command/],
    ["a pipe to itself", (command) => command.pipe(command), /not itself/],
  ])("is refused at once, and it never starts, even if that is caught: %s", async (_what, ask, message) => {
    const command = $`touch ${join(folder, "ran")}`;
    expect(() => ask(command)).toThrow(TypeError);
    await expect(command).rejects.toThrow(message);
    await shell.settled();
    expect(starter.started).toEqual([]);
  });

  it("is a pipe to a command that has an input: neither starts", async () => {
    const [left, right] = [$`echo left`, $`cat`.stdin("x")];
    expect(() => left.pipe(right)).toThrow(/^cat has a standard input already/);
    await expect(left).rejects.toThrow(TypeError);
    await expect(right).rejects.toThrow(TypeError);
    await shell.settled();
    expect(starter.started).toEqual([]);
  });

  it("is a pipe to a command that has started: that one goes on", async () => {
    const right = $`echo right`;
    const text = right.text();
    const left = $`echo left`;
    expect(() => left.pipe(right)).toThrow(/has not started: echo right has/);
    await expect(left).rejects.toThrow(TypeError);
    expect(await text).toBe("right");
  });

  it("is a pipe from a command that has started: the other one never starts, with an empty input", async () => {
    const left = $`echo dump`;
    await left;
    const right = $`cat > ${join(folder, "ran")}`;
    expect(() => left.pipe(right)).toThrow(/^echo dump has started: \.pipe\(\) belongs where it is written/);
    await expect(right).rejects.toThrow(/^echo dump has started/);
    await shell.settled();
    expect(existsSync(join(folder, "ran"))).toBe(false);
    expect(starter.started.length).toBe(1);
  });

  it("ends the first of a pipe where it is asked of the last", async () => {
    const left = $`sleep 1000`;
    expect(() => left.pipe($`cat`).timeout("soon" as never)).toThrow(TypeError);
    expect((await left.then(({ exit }) => exit)).reason).toBe("cancelled");
    await shell.settled();
    expect(starter.started.length).toBe(1);
  });

  it("comes too late once it has started, and the command goes on as it was", async () => {
    const command = $`echo once`;
    const text = command.text();
    const asks: (() => unknown)[] = [
      ...[() => command.text(), () => command.bytes(), () => command.json(), () => command.lines()],
      ...[() => command.nothrow(), () => command.quiet(), () => command.timeout("1s"), () => command.env({ A: "b" })],
      ...[() => command.cwd("/"), () => command.stdin("x"), () => command.pipe($`cat`)],
    ];
    for (const ask of asks) expect(ask).toThrow(/^echo once has started: \.\w+\(\) belongs where it is written/);
    expect(await text).toBe("once");
  });
});

describe("the output of a command", () => {
  it("is text without the one newline at its end", async () => {
    expect(await $`printf 'a\n\n'`.text()).toBe("a\n");
    expect(await $`printf 'a\r\nb\r\n'`.text()).toBe("a\r\nb");
    expect(await $`printf ' a '`.text()).toBe(" a ");
    expect(await $`true`.text()).toBe("");
    expect(await $`printf 'a\377b\303\251\n'`.text()).toBe("a\ufffdbé");
  });

  it("is its bytes as they are, and of nothing else", async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    writeFileSync(join(folder, "bytes"), bytes);
    expect(await $`cat ${join(folder, "bytes")}; echo problem >&2`.bytes()).toEqual(bytes);
  });

  it("is collected up to 16 MiB; then the command is ended, and the error says what to do", async () => {
    expect((await $`head -c ${limits.collectedBytes} /dev/zero`.bytes()).length).toBe(limits.collectedBytes);
    const error = await failureOf($`head -c ${limits.collectedBytes + 1} /dev/zero`.bytes());
    expect(error).toMatchObject({ code: "OUTPUT_TOO_LONG", hint: expect.stringContaining(".lines()") });
    expect(await failureOf($`yes`.text())).toMatchObject({ code: "OUTPUT_TOO_LONG" });
    expect(starter.started.at(-1)?.child.signalCode).toBe("SIGTERM");
  });

  it("is not given where the command failed", async () => {
    expect(await commandError($`echo half; exit 2`.text())).toMatchObject({ code: 2 });
    expect(await commandError($`echo '{}'; exit 2`.json())).toMatchObject({ code: 2 });
  });

  it("is JSON", async () => {
    expect(await $`printf '%s' ${'{"a":[1,null,"é"]}'}`.json()).toEqual({ a: [1, null, "é"] });
    expectTypeOf($`x`.nothrow().json).returns.resolves.toBeUnknown();
    await expect($`echo nonsense`.json()).rejects.toThrow(/^echo nonsense did not write JSON: /);
    await expect($`true`.json()).rejects.toThrow(/^true did not write JSON: /);
    await shell.settled();
  });

  it.each([
    ["valibot", v.object({ name: v.string(), ports: v.array(v.pipe(v.number(), v.maxValue(9), v.transform(String))) })],
    ["zod", z.object({ name: z.string(), ports: z.array(z.number().max(9).transform(String)) })],
    [
      "arktype",
      type({
        name: "string",
        ports: type("number <= 9")
          .pipe((port) => String(port))
          .array(),
      }),
    ],
  ] as const)("is JSON as a schema of %s makes it, and an error that says where it is not", async (_name, schema) => {
    const write = (value: unknown) => $`printf '%s' ${JSON.stringify(value)}`;
    const made = await write({ name: "a", ports: [1, 2] }).json(schema);
    expectTypeOf(made).toEqualTypeOf<{ name: string; ports: string[] }>();
    expect(made).toEqual({ name: "a", ports: ["1", "2"] });
    await expect(write({ name: "a", ports: [1, 12] }).json(schema)).rejects.toThrow(
      /wrote what its schema does not take: ports\.1: /,
    );
  });
});

describe("what nobody awaits", () => {
  it("is told at the function's end, where it failed, the first one first", async () => {
    $`exit 5`;
    $`exit 6`;
    $`true`;
    $`exit 7`.nothrow();
    expect(await commandError(shell.settled())).toMatchObject({ code: 5 });
  });

  it("is told also where it was lost", async () => {
    $`sleep 1000`;
    const settled = shell.settled();
    starter.started[0]?.lose(lost());
    expect(await failureOf(settled)).toMatchObject({ code: "CONNECTION_LOST" });
  });

  it("is waited for, also what was started meanwhile", async () => {
    const go = join(folder, "go");
    const done = join(folder, "done");
    void (async () => {
      await $`until [ -e ${go} ]; do sleep 0.01; done`;
      await nextTurn();
      await $`sleep 0.05`;
      await $`touch ${done}`;
    })();
    const settled = shell.settled();
    await $`touch ${go}`;
    await settled;
    expect(existsSync(done)).toBe(true);
  });

  it("is waited for at every place of the job, also where one follows from another", async () => {
    const done = join(folder, "done");
    const there = localStarter();
    const two = openShells([starter, there]);
    const [here, other] = two.shells as [Shell, Shell];
    void other`sleep 0.2`.then(() => here`sleep 0.2`).then(() => other`sleep 0.2; touch ${done}`);
    await two.settled();
    expect(existsSync(done)).toBe(true);
    await there[Symbol.asyncDispose]();
  });

  it("is what was read, too: what is wrong with that is no unhandled rejection, and is told", async () => {
    $`echo nonsense`.json();
    $`true`.text();
    await expect(shell.settled()).rejects.toThrow(/^echo nonsense did not write JSON/);
  });

  it("is nothing that is awaited later, or caught", async () => {
    const later = $`exit 5`;
    const text = $`exit 6`.text();
    const caught = $`exit 7`.text().catch((error: CommandError) => error.code);
    const both = Promise.allSettled([$`exit 8`.bytes(), $`exit 9`]);
    await $`sleep 0.1`;
    expect(await caught).toBe(7);
    expect(await commandError(later)).toMatchObject({ code: 5 });
    expect(await commandError(text)).toMatchObject({ code: 6 });
    expect((await both).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await shell.settled();
  });
});
