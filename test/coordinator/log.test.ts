import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lastLines } from "../../coordinator/store/last-lines.ts";
import { createBoundedLog, createLog } from "../../coordinator/store/log.ts";
import { describeCompleteness, measureLog } from "../../coordinator/store/measure-log.ts";
import { readLog } from "../../coordinator/store/read-log.ts";
import { encodeChunk, encodeControl, STDERR, STDOUT } from "../../protocol/chunk.ts";
import type { Exit } from "../../protocol/exit.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sortie-log-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const exit = (stdout: number, stderr: number): Exit => ({
  type: "exit",
  reason: "exited",
  code: 0,
  bytes: { stdout, stderr },
});

const completenessOf = (path: string): string => {
  const held = measureLog(path);
  return held ? describeCompleteness(held, null) : "missing";
};

async function collect(
  path: string,
  options?: Parameters<typeof readLog>[1],
): Promise<{ stdout: string; stderr: string; ended: boolean }> {
  const seen = { stdout: "", stderr: "", ended: false };
  for await (const part of readLog(path, options)) {
    if (part.kind === "output") seen[part.stream] += Buffer.from(part.bytes).toString("latin1");
    if (part.kind === "exit") seen.ended = true;
  }
  return seen;
}

describe("a log", () => {
  it("holds the bytes as they came, for its owner alone", async () => {
    const path = join(folder, "a", "log");
    const log = createLog(path);
    const bytes = Buffer.concat([encodeChunk(STDOUT, Buffer.alloc(100_000, "x")), encodeControl(exit(100_000, 0))]);
    for (let at = 0; at < bytes.length; at += 30_000) await log.write(bytes.subarray(at, at + 30_000));
    await log.close();
    expect(readFileSync(path)).toEqual(bytes);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(completenessOf(path)).toBe("complete");
  });

  it("fails with STORE_FAILED on a full disk", async () => {
    const log = createLog("/dev/full");
    await expect((async () => log.write(Buffer.alloc(10)))()).rejects.toMatchObject({ code: "STORE_FAILED" });
    await log.close();
    const large = createLog("/dev/full");
    await expect((async () => large.write(Buffer.alloc(100_000)))()).rejects.toMatchObject({ code: "STORE_FAILED" });
    await large.close();
  });

  it("is followed while it grows, in any slices, to its exit", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(STDOUT, STDERR), fc.string({ maxLength: 50 })), { maxLength: 10 }),
        fc.array(fc.nat(400), { maxLength: 8 }),
        fc.nat(),
        async (outputs, cuts, seed) => {
          const path = join(folder, `follow-${seed}-${Math.random()}`);
          const text = { stdout: "", stderr: "" };
          const chunks = outputs.map(([stream, content]) => {
            const payload = Buffer.from(content);
            text[stream === STDOUT ? "stdout" : "stderr"] += payload.toString("latin1");
            return encodeChunk(stream, payload);
          });
          const bytes = Buffer.concat([...chunks, encodeControl(exit(text.stdout.length, text.stderr.length))]);
          const reading = collect(path, { follow: true });
          const log = createLog(path);
          const places = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)), bytes.length].sort((a, b) => a - b);
          for (let index = 1; index < places.length; index++) {
            await log.write(bytes.subarray(places[index - 1], places[index]));
            await new Promise((resolve) => setImmediate(resolve));
          }
          await log.close();
          expect(await reading).toEqual({ ...text, ended: true });
        },
      ),
      { numRuns: 30 },
    );
  });

  it("ends for a follower when nobody writes it any more, after all that is there", async () => {
    const path = join(folder, "dead");
    const log = createLog(path);
    await log.write(encodeChunk(STDOUT, Buffer.from("some")));
    await log.write(encodeChunk(STDOUT, Buffer.from("cut off")).subarray(0, 8));
    await log.close();
    expect(await collect(path, { follow: true, isLive: () => false })).toEqual({
      stdout: "somecut",
      stderr: "",
      ended: false,
    });
    expect(completenessOf(path)).toBe("incomplete: it has no exit");
  });

  it("names what is missing", () => {
    expect(describeCompleteness({ stdout: 5, stderr: 0, exit: exit(10, 0) }, null)).toBe(
      "incomplete: stdout has 5 of 10 bytes",
    );
  });

  it("with a limit tells how much of each stream it left out", async () => {
    const path = join(folder, "bounded");
    const log = createBoundedLog(path, 1_000);
    for (let index = 0; index < 20; index++) {
      await log.write(encodeChunk(STDOUT, Buffer.alloc(100, "o")));
      await log.write(encodeChunk(STDERR, Buffer.alloc(10, "e")));
    }
    await log.write(encodeControl(exit(2_000, 200)));
    await log.close();
    const parts = [];
    for await (const part of readLog(path)) parts.push(part);
    const kept = parts.reduce((sum, part) => sum + (part.kind === "output" ? part.bytes.length : 0), 0);
    const dropped = parts.find((part) => part.kind === "dropped");
    expect(kept).toBeLessThanOrEqual(1_000);
    expect(kept + (dropped?.stdout ?? 0) + (dropped?.stderr ?? 0)).toBe(2_200);
    expect(parts.at(-1)?.kind).toBe("exit");
  });

  it("has notes in their place, which are no output: counted nowhere, and kept beside a limit", async () => {
    const note = (from: string) => encodeControl({ type: "note", at: 7, from, text: '{"type":"exit"}\n' });
    const chunks = [note("exit"), encodeChunk(STDOUT, Buffer.alloc(600, "o")), note("db"), note("db")];
    for (const [name, log] of [
      ["whole", createLog(join(folder, "whole"))],
      ["bounded", createBoundedLog(join(folder, "bounded"), 600)],
    ] as const) {
      for (const chunk of [...chunks, encodeControl(exit(600, 0))]) await log.write(chunk);
      log.close();
      const parts = [];
      for await (const { kind, ...part } of readLog(join(folder, name)))
        parts.push(kind === "note" && "from" in part ? `${part.from} ${part.at} ${part.text}` : kind);
      const told = '7 {"type":"exit"}\n';
      expect(parts).toEqual([`exit ${told}`, "output", `db ${told}`, `db ${told}`, "exit"]);
      expect(completenessOf(join(folder, name))).toBe("complete");
      expect(measureLog(join(folder, name))).toMatchObject({ stdout: 600, stderr: 0 });
    }
  });

  it("gives the last lines of both outputs, whole, whatever the chunks", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.constantFrom<"stdout" | "stderr">("stdout", "stderr"),
            fc.string({ unit: fc.constantFrom("a", "b", "\n"), maxLength: 8 }),
          ),
          { maxLength: 8 },
        ),
        fc.nat(6),
        async (pieces, most) => {
          const path = join(folder, `lines-${randomUUID()}`);
          const log = createLog(path);
          await log.write(encodeControl({ type: "mark", at: 1 }));
          const lines: { readonly stream: "stdout" | "stderr"; text: string }[] = [];
          const open = new Map<string, { text: string }>();
          for (const [stream, text] of pieces) {
            await log.write(encodeChunk(stream === "stdout" ? STDOUT : STDERR, Buffer.from(text)));
            for (const character of text) {
              const line = open.get(stream) ?? { stream, text: "" };
              if (!open.has(stream)) lines.push(line as (typeof lines)[number]);
              line.text += character;
              if (character === "\n") open.delete(stream);
              else open.set(stream, line);
            }
          }
          log.close();
          const expected = { stdout: "", stderr: "" };
          for (const { stream, text } of most === 0 ? [] : lines.slice(-most)) expected[stream] += text;
          const seen = { stdout: "", stderr: "" };
          for await (const part of lastLines(path, readLog(path), most, () => true))
            if (part.kind === "output") seen[part.stream] += Buffer.from(part.bytes).toString();
          expect(seen).toEqual(expected);
        },
      ),
      { numRuns: 200 },
    );
  });
});
