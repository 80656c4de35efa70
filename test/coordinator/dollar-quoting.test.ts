// Whatever is interpolated into `$` comes to the program as it is, in every shell that a host may have.
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Command } from "../../coordinator/recipe/command.ts";
import { openShells, type Shell } from "../../coordinator/recipe/shell-function.ts";
import { localStarter } from "../rig/local-starter.ts";

const seed = Number(process.env["SORTIE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const LISTS = 10_000;
/** A kernel takes no more than 128 KiB as one argument, and the whole command is one of the shell's. */
const BATCH_BYTES = 100_000;

const shells: Record<string, readonly [string, ...string[]]> = {
  dash: ["dash"],
  bash: ["bash"],
  "bash as sh": ["bash", "--posix"],
  "busybox sh": ["busybox", "sh"],
};
const isThere = ([program, ...args]: readonly [string, ...string[]]): boolean =>
  spawnSync(program, [...args, "-c", "exit 7"]).status === 7;
const present = Object.entries(shells).filter(([, shell]) => isThere(shell));

const word = fc.oneof(
  // What shells look at.
  fc.string({
    unit: fc.constantFrom(
      ..." '\"$`\\\n\r\t*?[]{}()<>|&;~!#=-+%^,:/@a1é😀",
      "\u0001",
      "\u001b",
      "\u007f",
      "\u0085",
      "\u2028",
      "\ufeff",
    ),
    maxLength: 12,
  }),
  // Every character but NUL.
  fc.string({ unit: "binary", maxLength: 12 }).map((text) => text.replaceAll("\0", "")),
  fc.constantFrom(
    "",
    "-",
    "--",
    "-n",
    "-e",
    "'",
    "''",
    "'\\''",
    "\n",
    "\\",
    "!!",
    "if",
    "A=1",
    "$(exit 9)",
    "`exit 9`",
  ),
);
const lists = fc.sample(fc.array(word, { maxLength: 9 }), { numRuns: LISTS, seed });

/** A template as the compiler makes it of `` `…${value}…` ``. */
const template = (parts: readonly string[]): TemplateStringsArray => Object.assign([...parts], { raw: parts });

/** Shows each of the lists: how many words it has, and the words, each ended by NUL. */
function show($: Shell, some: readonly (readonly string[])[]): Command {
  const first = `show() { printf '%s\\0' "$#" "$@"; }\nshow `;
  return $(template([first, ...some.slice(1).map(() => "\nshow "), ""]), ...some);
}

function shown(bytes: Buffer): string[][] {
  const words = bytes.toString().split("\0");
  const all: string[][] = [];
  for (let at = 0; at < words.length - 1; ) {
    const count = Number(words[at]);
    all.push(words.slice(at + 1, at + 1 + count));
    at += 1 + count;
  }
  return all;
}

function* batches(): Generator<string[][]> {
  let batch: string[][] = [];
  let bytes = 0;
  for (const list of lists) {
    // A quote becomes four bytes.
    const more = 10 + list.reduce((sum, text) => sum + 3 + 4 * Buffer.byteLength(text), 0);
    if (bytes + more > BATCH_BYTES) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(list);
    bytes += more;
  }
  yield batch;
}

describe(`${LISTS} lists of words in $ (SORTIE_SEED=${seed})`, () => {
  it("are tried in at least two shells", () => {
    console.log(`SORTIE_SEED=${seed}; shells: ${present.map(([name]) => name).join(", ")}`);
    expect(present.length).toBeGreaterThanOrEqual(2);
  });

  it.each(present)("come to a program unchanged through %s", async (_name, shell) => {
    await using starter = localStarter({ shell });
    const [$] = openShells([starter]).shells as [Shell];
    let seen = 0;
    for (const batch of batches()) {
      const came = shown(Buffer.from(await show($, batch).bytes()));
      expect(came.length).toBe(batch.length);
      for (const [index, list] of batch.entries()) expect(came[index]).toEqual(list);
      seen += batch.length;
    }
    expect(seen).toBe(LISTS);
  });

  it("come to a program unchanged without a shell", async () => {
    await using starter = localStarter();
    const [$] = openShells([starter]).shells as [Shell];
    for (const batch of batches()) {
      const words = batch.flat();
      const came = await $(["printf", "%s\\0", ...words]).bytes();
      expect(came.toString().split("\0").slice(0, -1)).toEqual(words);
    }
  });
});

describe("an interpolation that no program can be given", () => {
  const never = (): Shell => openShells([{ start: () => expect.unreachable() as never }]).shells[0] as Shell;

  it.each([undefined, null, {}, Symbol("a"), Number.NaN, Number.POSITIVE_INFINITY, 1n, () => {}, [["a"]], new Date(0)])(
    "is refused where it stands, and nothing starts: %s",
    (value) => {
      expect(() => never()`echo ${value as never}`).toThrow(TypeError);
      expect(() => never()`echo ${[value] as never}`).toThrow(TypeError);
      expect(() => never()(["echo", value as never])).toThrow(TypeError);
    },
  );

  it("is a text with NUL, which would end it, or with half of a surrogate pair, which has no bytes", () => {
    for (const [text, message] of [
      ["a\0b", /NUL/],
      ["\ud83d", /surrogate/],
      ["\ude00a", /surrogate/],
    ] as const) {
      expect(() => never()`echo ${text}`).toThrow(message);
      expect(() => never()`echo ${["a", text]}`).toThrow(message);
      expect(() => never()(["echo", text])).toThrow(message);
    }
  });
});
