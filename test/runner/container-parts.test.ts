// The container backend's parts that need no engine: the demux, and what is read out of codes, messages and changes.
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import { carried, ownChanges } from "../../runner/keeper/backends/container/changes.ts";
import { endedWith, ending, endingAfter } from "../../runner/keeper/backends/container/command.ts";
import { registryOf } from "../../runner/keeper/backends/container/credentials.ts";
import { demux } from "../../runner/keeper/backends/container/demux.ts";
import { wordsOf } from "../../runner/keeper/backends/container/engine-error.ts";
import { refusalIn, withoutInitFailure } from "../../runner/keeper/backends/container/init-failure.ts";
import { markOf, parseMark } from "../../runner/keeper/backends/container/mark.ts";
import { isFor } from "../../runner/keeper/backends/container/pull.ts";
import { signalAll } from "../../runner/keeper/backends/container/signals.ts";
import { outOfMemoryLater } from "../../runner/keeper/backends/container/wait.ts";
import { until } from "../rig/rig.ts";

const frame = (stream: number, bytes: Uint8Array): Buffer => {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
};
const textOf = async (output: Readable): Promise<string> => {
  const pieces: Buffer[] = [];
  for await (const piece of output) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("latin1");
};

describe("the demux", () => {
  it("takes both outputs out of a stream that is cut anywhere", async () => {
    const frames = fc.array(fc.tuple(fc.constantFrom(1, 2), fc.uint8Array({ maxLength: 40 })));
    await fc.assert(
      fc.asyncProperty(frames, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), async (sent, cuts) => {
        const all = Buffer.concat(sent.map(([stream, bytes]) => frame(stream, bytes)));
        const pieces: Buffer[] = [];
        for (let at = 0, cut = 0; at < all.length; cut++) {
          const length = cuts[cut % cuts.length] as number;
          pieces.push(all.subarray(at, at + length));
          at += length;
        }
        const { stdout, stderr, ended } = demux(Readable.from(pieces, { objectMode: false }));
        const of = (wanted: number): string =>
          Buffer.concat(sent.filter(([stream]) => stream === wanted).map(([, bytes]) => bytes)).toString("latin1");
        expect(await Promise.all([textOf(stdout), textOf(stderr), ended])).toEqual([of(1), of(2), undefined]);
      }),
    );
  });

  it("takes 300,000 frames of one byte in little time", async () => {
    const one = Buffer.concat(Array.from({ length: 10_000 }, (_, index) => frame(1 + (index % 2), Buffer.from("x"))));
    // Of this process alone: a busy machine takes its time.
    const before = process.cpuUsage();
    const { stdout, stderr } = demux(
      Readable.from(
        Array.from({ length: 30 }, () => one),
        { objectMode: false },
      ),
    );
    const [out, err] = await Promise.all([textOf(stdout), textOf(stderr)]);
    expect([out.length, err.length]).toEqual([150_000, 150_000]);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1_000).toBeLessThan(5_000);
  });

  it("reads no more than a little of what nobody reads, and the rest once somebody does", async () => {
    const piece = frame(1, Buffer.alloc(64 * 1024, 1));
    const pieces = 512;
    let read = 0;
    const source = Readable.from(
      (function* () {
        for (; read < pieces; read++) yield piece;
      })(),
      { objectMode: false },
    );
    const { stdout, stderr, ended } = demux(source);
    stderr.resume();
    const seen = await until(
      () => read,
      (count) => count >= limits.attachBufferBytes / piece.length,
    );
    // Turns enough for a demux that does not wait to take everything.
    for (let turn = 0; turn < 2_000; turn++) await new Promise(setImmediate);
    expect(read).toBeGreaterThanOrEqual(seen);
    expect(read).toBeLessThan(32);
    let length = 0;
    for await (const bytes of stdout) length += (bytes as Buffer).length;
    expect([length, await ended]).toEqual([pieces * 64 * 1024, undefined]);
  });

  it("ends its outputs and says so where the stream breaks, or is none", async () => {
    const broken = async (source: Readable): Promise<unknown> => {
      const { stdout, stderr, ended } = demux(source);
      return [await textOf(stdout), await textOf(stderr), await ended];
    };
    const whole = frame(1, Buffer.from("abc"));
    expect(await broken(Readable.from([whole, whole.subarray(0, 9)], { objectMode: false }))).toEqual([
      "abca",
      "",
      expect.stringContaining("cut"),
    ]);
    expect(await broken(Readable.from([whole, whole.subarray(0, 5)], { objectMode: false }))).toEqual([
      "abc",
      "",
      expect.stringContaining("cut"),
    ]);
    expect(await broken(Readable.from([whole, Buffer.from("HTTP/1.1 500")], { objectMode: false }))).toEqual([
      "abc",
      "",
      expect.stringContaining("no attach stream"),
    ]);
    expect(await broken(Readable.from([frame(3, Buffer.from("it went wrong"))], { objectMode: false }))).toEqual([
      "",
      "",
      expect.stringContaining("it went wrong"),
    ]);
    const reset = new PassThrough();
    setImmediate(() => reset.destroy(new Error("reset")));
    expect(await broken(reset)).toEqual(["", "", "reset"]);
  });

  it("goes on with one output where the other was closed", async () => {
    const { stdout, stderr, ended } = demux(
      Readable.from([frame(1, Buffer.alloc(1_000_000)), frame(2, Buffer.from("err"))], { objectMode: false }),
    );
    stdout.destroy();
    expect([await textOf(stderr), await ended]).toEqual(["err", undefined]);
  });
});

describe("init's words", () => {
  const through = async (pieces: readonly string[], code: number | undefined): Promise<[string, unknown]> => {
    let refusal: unknown;
    const filter = withoutInitFailure("prog", Promise.resolve(code), (found) => {
      refusal = found;
    });
    const text = textOf(filter);
    await pipeline(Readable.from(pieces.map((piece) => Buffer.from(piece))), filter);
    return [await text, refusal];
  };

  it("are a refusal, in however many pieces they come", async () => {
    expect(await through(["[FATAL tini (7)] ", "exec prog failed: No such file or directory", "\n"], 127)).toEqual([
      "",
      { stage: "command", code: 127, message: "prog: command not found in the image" },
    ]);
    expect(await through(["ERROR (catatonit:6): failed to exec pid1: Permission denied\n"], 1)).toEqual([
      "",
      { stage: "command", code: 126, message: "prog: cannot be executed in the image (Permission denied)" },
    ]);
    expect(refusalIn("[FATAL tini (7)] exec prog failed: Argument list too long\n", 1, "prog")).toMatchObject({
      stage: "spawn",
      code: null,
    });
  });

  it("are the command's own with another code, with more behind them, or with none before", async () => {
    const words = "[FATAL tini (7)] exec prog failed: No such file or directory\n";
    for (const [pieces, code] of [
      [[words], 2],
      [[words], undefined],
      [[words, "more\n"], 127],
      [["x", words], 127],
      [["[FATAL tini (7)] ".padEnd(20_000, "x")], 127],
      [[], 127],
    ] as const)
      expect(await through(pieces, code)).toEqual([pieces.join(""), undefined]);
  });
});

describe("how a container ended", () => {
  it("is a signal only where it was sent", () => {
    expect(endedWith(143, false, new Set(["TERM"]))).toEqual({ kind: "signaled", signal: "TERM" });
    expect(endedWith(143, false, new Set(["KILL"]))).toEqual({ kind: "exited", code: 143, ambiguous: true });
    expect(endedWith(0, false, new Set(["TERM"]))).toEqual({ kind: "exited", code: 0 });
    expect(endedWith(128, false, new Set())).toEqual({ kind: "exited", code: 128 });
    expect(endedWith(255, false, new Set())).toEqual({ kind: "exited", code: 255 });
  });

  it("is out of memory where the engine says so, and the command did not get over it", () => {
    expect(endedWith(137, true, new Set())).toEqual({ kind: "out-of-memory", code: null, signal: "KILL" });
    expect(endedWith(2, true, new Set())).toEqual({ kind: "out-of-memory", code: 2, signal: null });
    expect(endedWith(0, true, new Set())).toEqual({ kind: "exited", code: 0 });
  });

  it("is out of memory also where the engine hears of that behind the exit", async () => {
    const engineOf = (State: () => { OOMKilled: boolean }) =>
      ({ docker: { getContainer: () => ({ inspect: async () => ({ State: State() }) }) } }) as never;
    let looks = 0;
    expect(
      await outOfMemoryLater(
        engineOf(() => ({ OOMKilled: ++looks === 3 })),
        "id",
      ),
    ).toBe(true);
    expect(
      await outOfMemoryLater(
        engineOf(() => ({ OOMKilled: false })),
        "id",
      ),
    ).toBe(false);
    const gone = engineOf(() => {
      throw new Error("no such container");
    });
    expect(await outOfMemoryLater(gone, "id")).toBe(false);
  });

  it("is lost where the engine tells no code", () => {
    expect(endedWith(-1, false, new Set())).toMatchObject({ kind: "lost" });
  });

  it("tells what a kill ended, and what it could not, at most so many", () => {
    const [one, two, three] = [1, 2, 3].map((pid) => ({ pid, name: `p${pid}` }));
    if (!one || !two || !three) throw new Error("three");
    expect(ending([one, two], [two, three], [three])).toEqual({
      ended: [
        { ...one, by: "TERM" },
        { ...two, by: "KILL" },
      ],
      survivors: [three],
    });
    const many = Array.from({ length: 50 }, (_, pid) => ({ pid, name: "p" }));
    const told = ending(many, [], []);
    expect([told.ended.length, told.more]).toEqual([limits.endedProcesses, 50 - limits.endedProcesses]);
  });

  it("tells of what nobody looked at when the grace was over, not what ended it", () => {
    const over = { code: 137, outOfMemory: false };
    const unknown = "the engine did not tell all that ran";
    const one = { pid: 1, name: "p1" };
    expect(endingAfter(over, [one], undefined, [])).toEqual({ ended: [], survivors: [], unknown });
    expect(endingAfter(over, undefined, [one], [])).toEqual({
      ended: [{ ...one, by: "KILL" }],
      survivors: [],
      unknown,
    });
  });
});

it("sends a signal again where init alone is there: what it is about to start has to get it", async () => {
  const sent: string[] = [];
  const codes = [3, 3, 0, 9];
  const container = {
    async exec({ Cmd }: { Cmd: string[] }) {
      sent.push(Cmd.at(-1) ?? "");
      const ExitCode = codes.shift();
      return { start: async () => Readable.from([]), inspect: async () => ({ ExitCode }) };
    },
  };
  await signalAll({} as never, container as never, ["TERM", "INT"], false);
  expect(sent).toEqual(Array(3).fill("kill -TERM -1 || exit 3; kill -INT -1; exit 0"));
  codes.splice(0, codes.length, ...Array(20).fill(3));
  await signalAll({} as never, container as never, ["TERM"], false);
  expect(codes.length).toBe(15);
});

it("tells what a step changed from what the engine mounted", () => {
  const changed = (paths: readonly string[], mounted: readonly string[]): string[] =>
    ownChanges(
      paths.map((Path) => ({ Path, Kind: 0 })),
      mounted,
    ).map(({ Path }) => Path);
  expect(
    changed(["/sbin", "/sbin/docker-init", "/etc", "/workspace", "/mnt", "/mnt/in"], ["/workspace", "/mnt/in"]),
  ).toEqual([]);
  expect(changed(["/etc", "/etc/new"], ["/workspace"])).toEqual(["/etc/new"]);
  expect(changed(["/workspaces"], ["/workspace"])).toEqual(["/workspaces"]);
});

it("carries what is new with all that is in it, what changed alone, and what is gone", () => {
  const changes = [
    { Path: "/a", Kind: 0 },
    { Path: "/a/changed", Kind: 0 },
    { Path: "/a/gone", Kind: 2 },
    { Path: "/a/new", Kind: 1 },
    { Path: "/a/new/in", Kind: 1 },
    { Path: "/a/newer", Kind: 1 },
  ];
  const { removed, written } = carried(changes);
  expect(removed).toEqual(["/a/gone"]);
  expect(written.map(({ Path }) => Path)).toEqual(["/a/changed", "/a/new", "/a/newer"]);
});

it("finds an image's registry", () => {
  const hub = "https://index.docker.io/v1/";
  expect(
    ["alpine", "alpine:3", "acme/app", "docker.io/acme/app", "ghcr.io/a/b:1", "localhost/a", "h:5000/a"].map(
      registryOf,
    ),
  ).toEqual([hub, hub, hub, hub, "ghcr.io", "localhost", "h:5000"]);
});

it("writes a mark as one line, and reads it", () => {
  const owned = { image: "sha256:abc", workspace: "/a folder\nof two lines" };
  for (const address of [
    { url: "unix:///run/my dir/x.sock" },
    { url: "tcp://h:2376", certificates: "/a folder/certs" },
    { url: "tcp://h:2376", certificates: "/c", unverified: true as const },
  ])
    for (const mark of [{ address }, { address, owned }, { address, owned: { ...owned, confined: true as const } }]) {
      expect(markOf(mark)).not.toContain("\n");
      expect(parseMark(markOf(mark))).toEqual(mark);
    }
  const address = { url: "unix:///run/x.sock" };
  const long = markOf({ address, owned: { ...owned, workspace: `/${"x".repeat(1_000)}` } });
  expect(parseMark(long)).toEqual({ address });
  for (const text of ["ssh {}", "container unix:///x", "container {}"]) expect(() => parseMark(text)).toThrow();
});

it("takes an image for a platform's only where each part is the same", () => {
  const arm64 = { Os: "linux", Architecture: "arm64" };
  const armv7 = { Os: "linux", Architecture: "arm", Variant: "v7" };
  for (const platform of [undefined, "linux/arm64", "linux/arm64/v8", "linux/aarch64"])
    expect(isFor(arm64, platform)).toBe(true);
  for (const platform of ["linux/arm", "linux/amd64", "windows/arm64"]) expect(isFor(arm64, platform)).toBe(false);
  for (const platform of ["linux/arm", "linux/arm/v7"]) expect(isFor(armv7, platform)).toBe(true);
  for (const platform of ["linux/arm64", "linux/arm/v6"]) expect(isFor(armv7, platform)).toBe(false);
});

it("tells an engine's words without what a terminal would act on", () => {
  expect(wordsOf({ json: { message: "one\n\u001b[31mtwo\u0007 " } })).toBe("one ·[31mtwo·");
  expect(wordsOf(undefined)).toBe("undefined");
});
