import { describe, expect, it } from "vitest";
import type { Handlers } from "../../protocol/call.ts";
import type { ByteChannel } from "../../protocol/channel.ts";
import { EnvelopeReader, encodeEnvelope } from "../../protocol/envelope.ts";
import { SortieError } from "../../protocol/errors.ts";
import type { JobName } from "../../protocol/ids.ts";
import { newAttemptId, newRunId } from "../../protocol/ids.ts";
import { callJson, callRaw, subscribe } from "../../protocol/make-call.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import type { RunnerInfo } from "../../protocol/messages.ts";
import { serveCall } from "../../protocol/serve-call.ts";

const info: RunnerInfo = { name: "w1", version: "1", labels: { os: "linux" }, slots: 2, busy: 0, draining: false };
const caller = { peer: "test", name: "test" };
const input = () => ({
  request: {
    attemptId: newAttemptId(),
    run: newRunId(),
    job: "job" as JobName,
    attempt: 1,
    steps: [{ argv: ["true"] }],
    env: [],
    graceMs: 0,
    stdin: false,
  },
  window: 65_536,
  holder: "one",
});

function serve(handlers: Handlers, firstEnvelopeMs?: number): ByteChannel {
  const [ours, theirs] = memoryChannelPair();
  void serveCall(theirs, handlers, caller, { firstEnvelopeMs });
  return ours;
}

const failure = (promise: Promise<unknown>): Promise<SortieError> =>
  promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: SortieError) => error,
  );

describe("calls", () => {
  it("answers a json call once", async () => {
    expect(await callJson(serve({ "/runner/info": async () => info }), "/runner/info", {})).toEqual(info);
  });

  it("carries a subscription to its end, and tells the callee when the caller leaves early", async () => {
    const left = Promise.withResolvers<void>();
    const handlers: Handlers = {
      async *"/runner/watch"(_input, _caller, signal) {
        signal.addEventListener("abort", () => left.resolve());
        for (let busy = 0; busy < 3; busy++) yield { ...info, busy };
        await left.promise;
      },
    };
    const seen: number[] = [];
    for await (const { busy } of subscribe(serve(handlers), "/runner/watch", {})) {
      seen.push(busy);
      if (busy === 2) break;
    }
    expect(seen).toEqual([0, 1, 2]);
    await left.promise;
  });

  it("hands the bytes behind the envelope on, in both directions", async () => {
    const handlers: Handlers = {
      async "/job/run"(request, _caller, accept) {
        const carriage = await accept({ attemptId: request.request.attemptId });
        for (let bytes = await carriage.read(); bytes; bytes = await carriage.read()) await carriage.write(bytes);
      },
    };
    const call = await callRaw(serve(handlers), "/job/run", input());
    await call.write(Buffer.from("one "));
    await call.write(Buffer.from("two"));
    await call.close();
    let answer = "";
    for (let bytes = await call.read(); bytes; bytes = await call.read()) answer += Buffer.from(bytes).toString();
    expect(answer).toBe("one two");
  });

  it("brings a refusal to the caller with its code, message and hint", async () => {
    const handlers: Handlers = {
      async "/job/run"() {
        throw new SortieError("DENIED", "No.", { hint: "Ask." });
      },
    };
    const error = await failure(callRaw(serve(handlers), "/job/run", input()));
    expect({ code: error.code, message: error.message, hint: error.hint }).toEqual({
      code: "DENIED",
      message: "No.",
      hint: "Ask.",
    });
  });

  it("tells nothing of a bug but that there was one", async () => {
    const handlers: Handlers = {
      async "/runner/info"() {
        throw new TypeError("secret /path");
      },
    };
    const error = await failure(callJson(serve(handlers), "/runner/info", {}));
    expect(error.code).toBe("INTERNAL");
    expect(error.message).not.toContain("secret");
  });

  it("makes a peer's error text harmless", async () => {
    const handlers: Handlers = {
      async "/runner/info"() {
        throw new SortieError("DENIED", "\u001b]52;c;eA==\u0007\u202eevil\nline");
      },
    };
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not be there.
    expect((await failure(callJson(serve(handlers), "/runner/info", {}))).message).not.toMatch(/[\u0000-\u001f\u202e]/);
  });

  for (const [what, operationId] of [
    ["an unknown operation", "/no/such"],
    ["a name that every object has", "constructor"],
    ["__proto__", "__proto__"],
  ]) {
    it(`refuses ${what}`, async () => {
      const [ours, theirs] = memoryChannelPair();
      void serveCall(theirs, { "/runner/info": async () => info }, caller);
      await ours.write(
        encodeEnvelope({
          type: "call.requested",
          id: "1",
          payload: { operationId: operationId as string, carriage: "json", input: {} },
        }),
      );
      const answer = await new EnvelopeReader(ours).next();
      expect(answer).toMatchObject({ type: "call.error", payload: { code: "PROTOCOL" } });
    });
  }

  const wrongInputs = {
    "an unknown field": { ...input(), more: 1 },
    "a NUL in argv": { ...input(), request: { ...input().request, steps: [{ argv: ["a\0b"] }] } },
    "an empty argv": { ...input(), request: { ...input().request, steps: [{ argv: [] }] } },
    "no step": { ...input(), request: { ...input().request, steps: [] } },
    "a relative cwd": { ...input(), request: { ...input().request, cwd: "../.." } },
    "an id that is a path": { ...input(), request: { ...input().request, attemptId: "../../../etc" } },
    "a job's name with a line break": { ...input(), request: { ...input().request, job: "a\nb" } },
    "a variable with an equals sign in its name": { ...input(), request: { ...input().request, env: [["A=B", "c"]] } },
    "a variable given twice": {
      ...input(),
      request: {
        ...input().request,
        env: [
          ["A", "1"],
          ["A", "2"],
        ],
      },
    },
    "a variable of Sortie's own": { ...input(), request: { ...input().request, env: [["SORTIE_ATTEMPT_ID", "x"]] } },
    "a window that is too large": { ...input(), window: 2 ** 31 },
    "a negative time-out": { ...input(), request: { ...input().request, timeoutMs: -1 } },
  };
  for (const [what, wrong] of Object.entries(wrongInputs)) {
    it(`refuses a job with ${what}, before anything runs`, async () => {
      let ran = false;
      const handlers: Handlers = {
        async "/job/run"() {
          ran = true;
        },
      };
      const error = await failure(callRaw(serve(handlers), "/job/run", wrong as never));
      expect(error.code).toBe("PROTOCOL");
      expect(ran).toBe(false);
    });
  }

  it("refuses an envelope over the limit from its length alone", async () => {
    const [ours, theirs] = memoryChannelPair();
    void serveCall(theirs, {}, caller);
    await ours.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(await new EnvelopeReader(ours).next()).toMatchObject({ type: "call.error", payload: { code: "PROTOCOL" } });
  });

  for (const [what, bytes] of Object.entries({
    "text that is not JSON": Buffer.from("\0\0\0\u0003abc"),
    "invalid UTF-8": Buffer.from([0, 0, 0, 3, 0x22, 0xff, 0x22]),
    "JSON that is no envelope": Buffer.from("\0\0\0\u0002{}"),
    "an answer instead of a request": Buffer.from(encodeEnvelope({ type: "call.completed", id: "1", payload: {} })),
  })) {
    it(`answers ${what} with a named error`, async () => {
      const [ours, theirs] = memoryChannelPair();
      const served = serveCall(theirs, {}, caller);
      await ours.write(bytes);
      expect(await new EnvelopeReader(ours).next()).toMatchObject({
        type: "call.error",
        payload: { code: "PROTOCOL" },
      });
      await served;
    });
  }

  it("ends a call whose request does not come in time", async () => {
    const channel = serve({}, 50);
    expect((await failure(channel.read())).code).toBe("TIMEOUT");
  });
});
