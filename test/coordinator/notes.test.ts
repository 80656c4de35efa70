// Notes, which are no output of the job: from a runner that answers with a journal written by hand, through runs and
// single commands, to the views and the logs.
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Handlers, RawCarriage } from "../../protocol/call.ts";
import { encodeChunk, encodeControl, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { type AttemptId, newAttemptId } from "../../protocol/ids.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { type Node, startNode } from "../../protocol/node.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { openTrust } from "../../protocol/trust.ts";
import { Rig } from "../rig/rig.ts";

const at = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

const note = (from: string, text: string): Uint8Array => encodeControl({ type: "note", at, from, text });

/** What may be an exit code or a signal. */
const MAYBE_KILLED = { code: 137, ambiguous: true } as const;

function journal(attemptId: AttemptId, how: { code: number; ambiguous?: true } = { code: 0 }): Uint8Array {
  const tally = new OutputTally();
  const output = (stream: typeof STDOUT | typeof STDERR, text: string): Uint8Array => {
    tally.add(stream, Buffer.from(text));
    return encodeChunk(stream, Buffer.from(text));
  };
  const chunks = [
    encodeControl({ type: "started", at, attemptId }),
    note("engine", "pulling alpine:3\nlayer 1 of 2\u001b[2J\n"),
    // A service may be called what a control message is.
    note("exit", "is a service"),
    output(STDOUT, "one\nha"),
    output(STDERR, "oops"),
    note("db", "ready"),
    output(STDOUT, "lf\n"),
    note("db", "bye\n"),
  ];
  const { bytes } = tally;
  const exit = encodeControl({ type: "exit", reason: "exited", ...how, bytes, hash: tally.hash() });
  return Buffer.concat([...chunks, exit]);
}

const noteLines = [
  "[engine] pulling alpine:3",
  "[engine] layer 1 of 2",
  "[exit] is a service",
  "[db] ready",
  "[db] bye",
];

describe("notes", () => {
  let rig: Rig;
  let node: Node;
  let requests: JobRequest[];
  let recipe: string;
  /** What the runner holds of a job that runs, where there is one. */
  let soFar: Uint8Array | undefined;
  /** Bytes of its journal that the runner holds no more. */
  let gone: number;
  beforeEach(async () => {
    rig = new Rig();
    requests = [];
    soFar = undefined;
    gone = 0;
    const info = { name: "w1", version: "1", labels: {}, slots: 1, busy: 0, draining: false };
    const whole = async (carriage: RawCarriage, bytes: Uint8Array): Promise<void> => {
      await carriage.write(bytes);
      // Acknowledgements, until it has them all.
      while (await carriage.read());
      await carriage.close();
    };
    const kept = newAttemptId();
    const handlers: Handlers = {
      "/runner/info": async () => info,
      async "/job/run"({ request }, _caller, accept) {
        requests.push(request);
        const how = request.container?.image === "killed:1" ? MAYBE_KILLED : undefined;
        await whole(await accept({ attemptId: request.attemptId }), journal(request.attemptId, how));
      },
      "/job/list": async () => ({
        jobs: requests.map(({ run, job, attempt }) => ({
          ...{ attemptId: kept, run, job, attempt, startedAt: at, running: soFar !== undefined },
          ...{ end: gone + (soFar ?? journal(kept)).length, attached: false, acknowledged: true },
        })),
      }),
      async "/job/attach"({ attemptId }, _caller, accept) {
        const bytes = soFar ?? journal(attemptId);
        const begun = {
          attemptId,
          offset: gone,
          missing: { stdout: gone, stderr: 0 },
          end: gone + bytes.length,
          stdin: 0,
        };
        await whole(await accept(begun), bytes);
      },
    };
    node = await startNode({
      identity: await loadIdentity(join(rig.folder, "written")),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      trusts: () => true,
      pairingOpen: () => false,
      onCall: (channel, peer) => void serveCall(channel, handlers, { peer, name: peer }),
    });
    openTrust(join(rig.home, "coordinator")).pin(node.peer, "w1", node.addresses());
    recipe = rig.recipe(`import { job, recipe } from "sortie";
      const container = { image: "alpine:3", services: { db: { image: "postgres:17", env: { PASSWORD: "secret" } } } };
      export default recipe({ talk: job({ run: "true", container, user: "node", limits: { memory: "64m" } }) });`);
  });
  afterEach(async () => {
    await node.stop();
    await rig[Symbol.asyncDispose]();
  });

  it("stand behind their job's name and who says them in plain lines, and are events for programs", async () => {
    const plain = await rig.coordinator(["run", recipe, "--format", "plain"]);
    expect(plain.code).toBe(0);
    const lines = plain.text.split("\n").filter((line) => line.startsWith("talk │ "));
    expect(lines.slice(1, -1)).toEqual([
      ...noteLines.slice(0, 3).map((line) => `talk │ ${line}`),
      ...["talk │ one", "talk │ [db] ready", "talk │ half", "talk │ [db] bye", "talk │ oops"],
    ]);
    expect(requests).toMatchObject([
      {
        container: { image: "alpine:3", services: [{ name: "db", env: [["PASSWORD", "secret"]] }] },
        user: "node",
        limits: { memory: 64 * 1024 * 1024 },
      },
    ]);

    const json = await rig.coordinator(["run", recipe, "--format", "json"]);
    const events = json.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string });
    expect(events.filter(({ type }) => type === "job-note")).toEqual([
      { type: "job-note", at, job: "talk", from: "engine", text: "pulling alpine:3\nlayer 1 of 2\u001b[2J\n" },
      { type: "job-note", at, job: "talk", from: "exit", text: "is a service" },
      { type: "job-note", at, job: "talk", from: "db", text: "ready" },
      { type: "job-note", at, job: "talk", from: "db", text: "bye\n" },
    ]);
    expect((await rig.coordinator(["attach", "last", "--format", "plain"])).text).toContain("talk │ [db] ready\n");
  });

  it("are told by a single command on stderr, and what it wrote stays as it was", async () => {
    const { code, text, stderr } = await rig.coordinator([
      ...["exec", "w1", "--image", "alpine:3", "--pull", "never", "--", "true"],
    ]);
    expect({ code, text }).toEqual({ code: 0, text: "one\nhalf\n" });
    expect(stderr.split("\n")).toEqual([
      ...["sortie: engine: pulling alpine:3", "sortie: engine: layer 1 of 2", "sortie: exit: is a service"],
      ...["oopssortie: db: ready", "sortie: db: bye", ""],
    ]);
    expect(requests[0]?.container).toMatchObject({ image: "alpine:3", pull: "never" });
    await rig.coordinator(["exec", "w1", "--ssh", "deploy@[::1]:2222", "--", "true"]);
    expect(requests[1]).toMatchObject({ ssh: { host: "::1", user: "deploy", port: 2222 } });
    expect(requests[1]?.container).toBeUndefined();
    const killed = await rig.coordinator(["exec", "w1", "--image", "killed:1", "--", "true"]);
    expect(killed).toMatchObject({
      code: 137,
      stderr: expect.stringContaining("sortie: exit 137, or killed by KILL\n"),
    });
  });

  it("are in the log, which is whole without them, and are shown where they are asked for", async () => {
    await rig.coordinator(["run", recipe]);
    expect((await rig.coordinator(["show", "last"])).text).toMatch(/talk .* passed? .*complete/);
    for (const from of [[], ["--from", "w1"]]) {
      const logs = (...more: string[]) =>
        rig.coordinator(["logs", ...from, from.length > 0 ? "talk" : "last/talk", ...more]);
      expect(await logs()).toMatchObject({ code: 0, text: "one\nhalf\n", stderr: "oops" });
      const { text, stderr } = await logs("--notes");
      expect(text).toBe("one\nhalf\n");
      expect(stderr).toBe(`${noteLines.slice(0, 3).join("\n")}\noops\n[db] ready\n[db] bye\n`);
      expect((await logs("--notes", "-n", "2")).stderr).toBe("oops\n[db] ready\n[db] bye\n");
      const time = "2026-01-02T03:04:05.678Z ";
      const timed = await logs("--notes", "-t");
      expect(timed).toMatchObject({
        text: `${time}one\n${time}half\n`,
        stderr: expect.stringContaining(`${time}[db] ready\n`),
      });
      expect((await logs("--notes", "--since", "2026-01-03T00:00:00Z")).stderr).toBe("");
    }
  });

  it("are all there is to show of a job that runs and has said nothing", async () => {
    await rig.coordinator(["run", recipe]);
    soFar = note("engine", "pulling");
    const { code, text, stderr } = await rig.coordinator(["logs", "--from", "w1", "talk", "--notes"]);
    expect({ code, text, stderr }).toEqual({ code: 0, text: "", stderr: "[engine] pulling\n" });

    gone = 1_000;
    const rest = await rig.coordinator(["logs", "--from", "w1", "talk", "--notes"]);
    expect(rest.stderr).toMatch(
      /1000 bytes of stdout .* are not in this log: w1 holds no more of it\n\[engine\] pulling\n$/,
    );
  });
});
