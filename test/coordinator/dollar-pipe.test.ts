// `.pipe()` and `.stdin()` of `$`, over real processes of this machine: two starters are two runners.
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CommandInput } from "../../coordinator/recipe/command-input.ts";
import { type OpenShells, openShells, type Shell } from "../../coordinator/recipe/shell-function.ts";
import { SortieError } from "../../protocol/errors.ts";
import { isBlocked } from "../rig/blocked.ts";
import { type LocalCommand, type LocalStarter, localStarter } from "../rig/local-starter.ts";

const MiB = 1024 * 1024;
let folder: string;
/** A job's own place, and another one of it. */
let here: LocalStarter;
let there: LocalStarter;
let shells: OpenShells;
let $: Shell;
let other: Shell;
let refused: boolean;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sortie-pipe-"));
  refused = false;
  const refuse = (): Error | undefined => (refused ? new SortieError("DENIED", "w2 refuses it.") : undefined);
  here = localStarter();
  there = localStarter({ refuse });
  shells = openShells([here, there]);
  [$, other] = shells.shells as [Shell, Shell];
});
afterEach(async () => {
  await here[Symbol.asyncDispose]();
  await there[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const settled = () => shells.settled();
const lost = (): SortieError => new SortieError("CONNECTION_LOST", "w2 was not reached again.");
const first = (starter: LocalStarter): LocalCommand => starter.started[0] as LocalCommand;
/** Reads its input to the end, and then leaves a mark: it took what it got for a whole. */
const takeWhole = (): ReturnType<Shell> => $`cat > ${join(folder, "got")} && touch ${join(folder, "whole")}`;
const tookWhole = (): boolean => existsSync(join(folder, "whole"));
/** Resolves once the first bytes of the input have come through. */
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
};
const got = (): string => (existsSync(join(folder, "got")) ? readFileSync(join(folder, "got"), "utf8") : "");

describe("a pipe", () => {
  it("gives one command's output to another, of another runner, and has the results of both", async () => {
    const result = await other`printf 'b\na\n'; echo hm >&2`.pipe($`sort > ${join(folder, "got")}; exit 3`.nothrow());
    expect(got()).toBe("a\nb\n");
    expect(result).toMatchObject({ code: 3, piped: [{ code: 0, stderr: "hm\n", piped: [] }] });
    expect([there.started.length, here.started.length]).toEqual([1, 1]);
  });

  it("goes on from command to command, and each is in the result", async () => {
    const last = other`seq 1 100`.pipe($`grep 7`).pipe(other`wc -l; exit 5`.nothrow());
    expect(await last).toMatchObject({ code: 5, piped: [{ code: 0 }, { code: 0 }] });
    expect(await $`seq 1 100`.pipe(other`grep 7`).pipe($`wc -l`).text()).toMatch(/^ *19$/);
  });

  it("throws where any of them failed, the first one first, and not for one with nothrow", async () => {
    await expect(other`echo a; exit 3`.pipe($`cat; exit 4`)).rejects.toMatchObject({ name: "CommandError", code: 3 });
    await expect(other`exit 3`.nothrow().pipe($`cat; exit 4`)).rejects.toMatchObject({ code: 4 });
    await expect(other`exit 3`.pipe($`cat; exit 4`.nothrow())).rejects.toMatchObject({ code: 3 });
    await expect(other`true`.pipe($`cat; exit 4`).text()).rejects.toMatchObject({ code: 4 });
    expect(await other`exit 3`.nothrow().pipe($`cat; exit 4`.nothrow())).toMatchObject({
      code: 4,
      piped: [{ code: 3 }],
    });
    await settled();
  });

  it("is told at the function's end where nobody awaits it", async () => {
    other`echo a; exit 3`.pipe($`cat`);
    await expect(settled()).rejects.toMatchObject({ code: 3, command: "echo a; exit 3" });
  });

  it("ends as in a shell where the first one fails: the second has all of the input", async () => {
    await expect(other`printf half; exit 3`.pipe(takeWhole())).rejects.toMatchObject({ code: 3 });
    expect([got(), tookWhole()]).toEqual(["half", true]);
  });

  it("ends the first one where the second ends before it, whether it writes or not, and that is no failure", async () => {
    for (const left of [() => other`yes`, () => other`sleep 1000`, () => other`trap '' PIPE; yes`]) {
      const text = left().pipe($`head -n 1 </dev/null; echo done`).text();
      expect(await text).toBe("done");
    }
    const result = await other`yes`.pipe($`head -n 1`);
    expect(result).toMatchObject({ code: 0, piped: [{ code: null, exit: { reason: "cancelled", by: "run" } }] });
    expect(there.started.map(({ child }) => child.signalCode)).toEqual(Array(4).fill("SIGTERM"));
    await settled();
  });

  it("ends all before the one that ended, of three", async () => {
    const result = await other`yes`.pipe($`cat`).pipe(other`head -n 1`);
    expect(result.piped.map(({ exit }) => exit.reason)).toEqual(["cancelled", "cancelled"]);
    await expect(other`yes`.pipe($`head -n 1; exit 6`).pipe(other`cat`)).rejects.toMatchObject({ code: 6 });
    await settled();
  });

  it("is lost with its first command: the second is ended before it takes half for a whole", async () => {
    const failure = other`printf half; sleep 1000`.pipe(takeWhole()).then(undefined, (error: unknown) => error);
    await until(() => got() === "half");
    first(there).lose(lost());
    expect(await failure).toMatchObject({ code: "CONNECTION_LOST" });
    expect(first(here).child.signalCode).toBe("SIGTERM");
    expect(tookWhole()).toBe(false);
    await settled();
  });

  it.each<[string, () => ReturnType<Shell>, object]>([
    ["was killed", () => other`printf half; kill -KILL $$`, { exit: { reason: "signaled", signal: "KILL" } }],
    ["had no more time", () => other`printf half; sleep 1000`.timeout("100ms"), { exit: { reason: "timeout" } }],
    ["is not there", () => other(["no-such-program-anywhere"]), { code: 127 }],
  ])("does not look whole to its second command where the first one %s", async (_how, left, problem) => {
    await expect(left().pipe(takeWhole())).rejects.toMatchObject({ name: "CommandError", ...problem });
    expect(tookWhole()).toBe(false);
    // Neither for a command that reads it: the error is the first one's.
    await expect(left().pipe($`cat`).text()).rejects.toMatchObject(problem);
    await settled();
  });

  it("does not begin for its second command where the start of the first is refused", async () => {
    refused = true;
    await expect(other`true`.pipe(takeWhole())).rejects.toMatchObject({ code: "DENIED" });
    await expect(other`true`.pipe($`cat`).text()).rejects.toMatchObject({ code: "DENIED" });
    await expect(Array.fromAsync(other`true`.pipe($`cat`).lines())).rejects.toMatchObject({ code: "DENIED" });
    expect(tookWhole()).toBe(false);
    await settled();
  });

  it("ends the first one where the second is refused, or lost", async () => {
    refused = true;
    await expect($`yes`.pipe(other`cat`)).rejects.toMatchObject({ code: "DENIED" });
    expect(first(here).child.signalCode).toBe("SIGTERM");
    refused = false;
    const failure = $`yes`.pipe(other`cat > /dev/null`).then(undefined, (error: unknown) => error);
    await until(() => there.started.length > 0 && (here.started[1]?.given ?? 0) > MiB);
    first(there).lose(lost());
    expect(await failure).toMatchObject({ code: "CONNECTION_LOST" });
    expect(here.started[1]?.child.signalCode).toBe("SIGTERM");
    await settled();
  });

  it("holds a first command that writes faster than the second reads", async () => {
    const left = other`yes 0123456789abcde | head -c ${64 * MiB}`;
    const go = join(folder, "go");
    const count = left.pipe($`until [ -e ${go} ]; do sleep 0.01; done; wc -c`).text();
    await until(() => (there.started[0]?.given ?? 0) > 0);
    await isBlocked(first(there).child.pid as number);
    const { given } = first(there);
    expect(given).toBeLessThan(MiB);
    await $`touch ${go}`;
    expect(Number(await count)).toBe(64 * MiB);
  });

  it("takes 256 MiB through with bounded memory, every byte of it", async () => {
    const total = 256 * MiB;
    const expected = createHash("sha256");
    const block = Buffer.from("0123456789abcde\n".repeat(64 * 1024));
    for (let bytes = 0; bytes < total; bytes += block.length) expected.update(block);
    const before = process.memoryUsage();
    let most = 0;
    const timer = setInterval(() => {
      const { arrayBuffers, heapUsed } = process.memoryUsage();
      most = Math.max(most, arrayBuffers + heapUsed - before.arrayBuffers - before.heapUsed);
    }, 20);
    try {
      const sum = await other`yes 0123456789abcde | head -c ${total}`.pipe($`sha256sum`).text();
      expect(sum.split(" ")[0]).toBe(expected.digest("hex"));
    } finally {
      clearInterval(timer);
    }
    expect(first(there).given).toBe(total);
    // Garbage between two collections included.
    expect(most).toBeLessThan(128 * MiB);
  });
});

describe("the input of a command", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  it.each<[string, () => CommandInput]>([
    ["a text", () => "aé\0b"],
    ["bytes", () => bytes("aé\0b")],
    ["a Blob", () => new Blob(["aé", "\0b"])],
    ["a list", () => ["a", bytes("é"), "", "\0b"]],
    [
      "a generator",
      async function* () {
        yield "aé";
        yield bytes("\0b");
      },
    ],
    ["a web stream", () => new Blob(["aé\0b"]).stream()],
    ["a stream of Node", () => Readable.from([Buffer.from("aé"), Buffer.from("\0b")])],
  ])("is %s", async (_what, input) => {
    expect(await $`cat`.stdin(input()).bytes()).toEqual(Buffer.from("aé\0b"));
  });

  it("is empty by default, and ends", async () => {
    expect(await $`wc -c`.text()).toMatch(/^ *0$/);
    expect(await $`wc -c`.stdin("").text()).toMatch(/^ *0$/);
  });

  it("need not be read by the command", async () => {
    expect(await $`echo done`.stdin(Buffer.alloc(16 * MiB)).text()).toBe("done");
    const endless = async function* (): AsyncGenerator<string> {
      for (;;) yield "x".repeat(1_000);
    };
    expect(await $`head -c 3`.stdin(endless()).text()).toBe("xxx");
    expect(await $`echo done`.stdin(new ReadableStream<Uint8Array>()).text()).toBe("done");
  });

  it("is asked for no faster than the command reads", async () => {
    let pieces = 0;
    const total = 1_000;
    const source = (function* () {
      for (; pieces < total; pieces++) yield Buffer.alloc(64 * 1024);
    })();
    const go = join(folder, "go");
    const count = $`until [ -e ${go} ]; do sleep 0.01; done; wc -c`.stdin(source).text();
    await until(() => pieces > 0 && first(here).child.stdin.writableNeedDrain);
    // The kernel's pipe, and what Node holds for it.
    expect(pieces).toBeLessThan(10);
    await $`touch ${go}`;
    expect(Number(await count)).toBe(total * 64 * 1024);
  });

  it.each<[string, () => CommandInput, RegExp]>([
    [
      "fails",
      async function* () {
        yield "half";
        await until(() => got() === "half");
        throw new RangeError("the source broke");
      },
      /^the source broke$/,
    ],
    ["has a piece that is neither text nor bytes", () => ["half", 7 as never], /neither a text nor bytes: number/],
  ])("ends the command where it %s: half of it does not look whole", async (_how, input, message) => {
    await expect(takeWhole().stdin(input())).rejects.toThrow(message);
    expect(first(here).child.signalCode).toBe("SIGTERM");
    expect(tookWhole()).toBe(false);
    await settled();
  });

  it("that fails ends what comes behind the command in its pipe, too", async () => {
    const broken = (async function* () {
      yield "half";
      throw new RangeError("the source broke");
    })();
    await expect(other`cat`.stdin(broken).pipe(takeWhole())).rejects.toThrow("the source broke");
    expect(tookWhole()).toBe(false);
  });
});
