// The keeper as a process of its own against one in the same process: what a start, a byte and an idle runner cost. Both
// are driven in the same way, over the front's own link to its keeper, without a network.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { ChunkDecoder, encodeControl } from "../protocol/chunk.ts";
import type { Command } from "../protocol/command.ts";
import { newAttemptId, newRunId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { callRaw } from "../protocol/make-call.ts";
import { JournalControl } from "../protocol/messages.ts";
import { embeddedKeeper, type KeeperLink, keeperProcess } from "../runner/keeper/keeper-link.ts";
import { median, root } from "./rig.ts";

const STARTS = 300;
const BYTES = 512 * 1024 * 1024;
const AT_ONCE = 8;
const ROUNDS = 3;
/** What a front of a busy runner may hold. */
const BALLAST_MIB = 500;

export async function keeperSplit(): Promise<[string, string][]> {
  const folder = mkdtempSync(join(tmpdir(), "sortie-split-"));
  const own = await keeperProcess(join(folder, "process"), { program: join(root, "dist/keeper.js") });
  const audited = await keeperProcess(join(folder, "audited"), {
    program: join(root, "dist/keeper.js"),
    audit: join(folder, "audit"),
  });
  const inside = await embeddedKeeper(join(folder, "inside"));
  try {
    const starts = await inTurn(own, inside, (link) => startsMs(link));
    const ballast = Array.from({ length: BALLAST_MIB }, () => new Uint8Array(1024 * 1024).fill(1));
    const loaded = await inTurn(own, inside, (link) => startsMs(link));
    if (ballast.length !== BALLAST_MIB) throw new Error("the ballast is gone");
    ballast.length = 0;
    const audits = await inTurn(audited, own, (link) => startsMs(link));
    const together = await inTurn(audited, own, (link) => startsMs(link, AT_ONCE));
    const pipe = await inTurn(own, inside, (link) =>
      seconds(link, { argv: ["head", "-c", String(BYTES), "/dev/zero"] }),
    );
    const mib = BYTES / 1024 / 1024;
    return [
      ["a start, own process / inside", `${starts.own.toFixed(1)} / ${starts.inside.toFixed(1)} ms`],
      [`the same with ${BALLAST_MIB} MiB in the front`, `${loaded.own.toFixed(1)} / ${loaded.inside.toFixed(1)} ms`],
      ["a start, with an audit / without", ofTwo(audits)],
      [`the same, ${AT_ONCE} at once`, ofTwo(together)],
      ["a pipe, own process / inside", `${(mib / pipe.own).toFixed(0)} / ${(mib / pipe.inside).toFixed(0)} MiB/s`],
    ];
  } finally {
    await own.close();
    await audited.close();
    await inside.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function inTurn(own: KeeperLink, inside: KeeperLink, measure: (link: KeeperLink) => Promise<number>) {
  await measure(own);
  await measure(inside);
  const pairs: { own: number; inside: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) pairs.push({ own: await measure(own), inside: await measure(inside) });
  return { own: median(pairs.map((pair) => pair.own)), inside: median(pairs.map((pair) => pair.inside)) };
}

const ofTwo = ({ own, inside }: { own: number; inside: number }): string =>
  `${own.toFixed(2)} / ${inside.toFixed(2)} ms = ${(own / inside).toFixed(2)}`;

/** Milliseconds for a job of `true`, from the call to its exit: one after the other, or so many at once. */
async function startsMs(link: KeeperLink, atOnce = 1): Promise<number> {
  const began = performance.now();
  let left = STARTS;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await runJob(link, { argv: ["true"] });
    }),
  );
  return (performance.now() - began) / STARTS;
}

async function seconds(link: KeeperLink, command: Command): Promise<number> {
  const began = performance.now();
  await runJob(link, command);
  return (performance.now() - began) / 1000;
}

async function runJob(link: KeeperLink, command: Command): Promise<void> {
  const call = await callRaw(await link.open(), "/keeper/run", {
    owner: "bench",
    slots: 10,
    leaseMs: null,
    decision: { peer: "bench", name: "bench", wants: [], rule: "bench" },
    request: {
      attemptId: newAttemptId(),
      run: newRunId(),
      job: "bench" as never,
      attempt: 1,
      steps: [command],
      env: [],
      graceMs: 1_000,
      stdin: false,
    },
    window: limits.window,
    holder: "bench",
  });
  const decoder = new ChunkDecoder();
  let acknowledged = 0;
  for (let over = false; !over; ) {
    const bytes = await call.read();
    if (!bytes) throw new Error("the job ended without an exit");
    for (const part of decoder.push(bytes))
      over ||= part.kind === "control" && v.parse(JournalControl, part.json).type === "exit";
    if (over || decoder.offset - acknowledged > limits.window / 4) {
      acknowledged = decoder.offset;
      await call.write(encodeControl({ type: "ack", offset: acknowledged }));
    }
  }
  await call.close();
}
