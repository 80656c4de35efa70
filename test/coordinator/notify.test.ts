import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { deliverByCommand, deliverTo } from "../../coordinator/deliver.ts";
import type { RunEvent } from "../../coordinator/events.ts";
import type { Notice } from "../../coordinator/notice.ts";
import { notifications } from "../../coordinator/notify.ts";
import { planOf } from "../../coordinator/plan.ts";
import { type JobOptions, job, type NotifyOptions, recipe, secret } from "../../coordinator/recipe/sdk.ts";
import { noSecrets } from "../../coordinator/secrets.ts";
import { planDocument } from "../../coordinator/views/plan-document.ts";
import type { JobName, RunId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { testFolder } from "../rig/peers.ts";

const notice: Notice = {
  ...{ type: "run", run: "run1" as RunId, recipe: "/r.ts", endedAt: 5, durationMs: 4 },
  ...{ outcome: "failed", counts: { failed: 1 }, notPassed: [{ job: "a" as JobName, outcome: "failed" }] },
};

describe("a webhook", () => {
  let server: Server;
  let url: string;
  const bodies: string[] = [];
  const types: (string | undefined)[] = [];
  let answers: number[];
  beforeEach(async () => {
    bodies.length = 0;
    answers = [];
    server = createServer((request, response) => {
      let body = "";
      types.push(request.headers["content-type"]);
      request.on("data", (text) => {
        body += text;
      });
      request.on("end", () => {
        bodies.push(`${request.method} ${body}`);
        response.writeHead(answers.shift() ?? 200, { location: "/elsewhere" }).end("seen");
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook/TOKEN`;
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  it("gets the document, once", async () => {
    expect(await deliverTo(url, notice)).toBeUndefined();
    expect(bodies).toEqual([`POST ${JSON.stringify(notice)}`]);
    expect(types).toEqual(["application/json"]);
  });

  it("is asked again when it fails, and given up after three times", async () => {
    answers = [500, 429];
    expect(await deliverTo(url, notice)).toBeUndefined();
    expect(bodies).toHaveLength(3);
    answers = [500, 502, 503];
    expect(await deliverTo(url, notice)).toBe("HTTP 503, asked 3 times");
    expect(bodies).toHaveLength(6);
  });

  it("is not asked again when it says no, or sends elsewhere", async () => {
    answers = [404, 302];
    expect(await deliverTo(url, notice)).toBe("HTTP 404");
    expect(await deliverTo(url, notice)).toBe("HTTP 302");
    expect(bodies).toHaveLength(2);
  });

  it("that is not there, or never answers, is told without its address", async () => {
    const silent = createTcpServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const timeout = vi.spyOn(AbortSignal, "timeout").mockImplementation(() => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new DOMException("late", "TimeoutError")), 50);
      return controller.signal;
    });
    try {
      const told = await deliverTo(`http://127.0.0.1:${port}/TOKEN`, notice);
      expect(timeout).toHaveBeenCalledWith(limits.notifyMs);
      expect(told).toBe("no answer within 10 s, asked 3 times");
    } finally {
      timeout.mockRestore();
      silent.close();
    }
    // Not the port that was free a moment ago: by now it may be somebody else's.
    expect(await deliverTo("http://127.0.0.1:2/TOKEN", notice)).toBe("ECONNREFUSED, asked 3 times");
  });
});

describe("a command that tells somebody", () => {
  it("gets the document, and says with its exit whether it was told", async () => {
    const script =
      'read -r line; test "$SORTIE_RUN $SORTIE_OUTCOME $SORTIE_JOB" = "run1 failed " && echo "$line" | grep -q \'"counts":{"failed":1}\' && test "$PWD" = /';
    expect(await deliverByCommand(["sh", "-c", script], notice, "/")).toBeUndefined();
    expect(await deliverByCommand(["sh", "-c", "echo one >&2; echo two >&2; exit 3"], notice, "/")).toBe("exit 3: two");
    expect(await deliverByCommand(["sh", "-c", "kill -9 $$"], notice, "/")).toBe("signal SIGKILL");
    expect(await deliverByCommand(["/no/such/program"], notice, "/")).toContain("ENOENT");
    // One that reads nothing, and leaves something behind with its output open.
    const folder = testFolder();
    const leaves = "exec 0<&-; sleep 9193 & echo $! > left; exit 0";
    const told = await deliverByCommand(["sh", "-c", leaves], notice, folder);
    process.kill(Number(readFileSync(join(folder, "left"), "utf8")));
    expect(told).toBeUndefined();
  });
});

describe("notify", () => {
  const wrong = (notify: unknown) => expect(() => job({ run: "true", notify } as JobOptions));

  it("is a command or an address, of a job or a recipe, checked where it stands", () => {
    wrong({}).toThrow("notify takes a command or a url, one of them.");
    wrong({ command: ["a"], url: "https://x" }).toThrow("one of them");
    wrong({ command: "a b" }).toThrow("notify.command must be argv");
    wrong({ url: "ftp://x" }).toThrow("notify.url must begin with https:// or http://");
    wrong({ url: "https://x", on: ["broken"] }).toThrow("notify.on must be a list of outcomes");
    wrong({ url: "https://x", when: "failed" }).toThrow(/notify has no option "when"/);
    wrong(Array(11).fill({ url: "https://x" })).toThrow("notify has more than 10 entries");
    expect(() => recipe({ a: job({ run: "true" }) }, { notify: {} as NotifyOptions })).toThrow("a command or a url");
    expect(() => recipe({ a: job({ run: "true" }) }, { notfy: 1 } as object)).toThrow(/no option "notfy"/);
  });

  it("is in the plan without addresses, which may be for few", () => {
    const options: JobOptions = {
      run: "true",
      notify: [{ url: "https://hooks.example/T0KEN" }, { url: secret("HOOK") }, { command: ["tell"], on: ["passed"] }],
    };
    const plan = planOf({ path: "/r.ts", source: "", recipe: recipe({ a: job(options) }) });
    expect(planDocument(plan).jobs[0]?.notify).toEqual([
      { on: ["failed", "lost"], to: "hooks.example" },
      { on: ["failed", "lost"], to: "the secret HOOK" },
      { on: ["passed"], to: "tell" },
    ]);
  });

  it("tells of jobs as they end and of the run with all of them, where they came out so; what fails is a warning", async () => {
    const events: RunEvent[] = [];
    const said: string[] = [];
    const server = createServer((request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (text) => {
        body += text;
      });
      request.on("end", () => {
        said.push(body);
        response.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const bad = { command: ["false"] as const, on: ["failed"] as const };
    const jobs = {
      good: job({ run: "true", notify: { url, on: ["passed"] } }),
      bad: job({ run: "true", notify: [{ url }, bad] }),
      quiet: job({ run: "true", notify: { url } }),
    };
    const plan = planOf({ path: "/r.ts", source: "", recipe: recipe(jobs) });
    const told = notifications({
      run: "run1" as RunId,
      recipe: "/r.ts",
      notify: [{ url, on: ["failed"] }],
      known: [{ job: "before" as JobName, outcome: "passed" }],
      secrets: noSecrets(),
      emit: (event) => void events.push(event),
    });
    told.add(plan.jobs);
    const end = { type: "job-ended", at: 5, durationMs: 3 } as const;
    told.on({ ...end, job: "good" as JobName, outcome: "passed" });
    told.on({ ...end, job: "bad" as JobName, outcome: "failed", allowed: true, message: "why" });
    told.on({ ...end, job: "quiet" as JobName, outcome: "passed", kept: "run0" as RunId });
    await told.finish("failed", 9);
    server.close();
    // They are told at the same time: which is heard first is open.
    const about = ({ type, job }: { type: string; job?: string }): string => job ?? type;
    const heard = said.map((text) => JSON.parse(text));
    expect(heard.sort((one, other) => about(one).localeCompare(about(other)))).toEqual([
      {
        ...{ type: "job", run: "run1", recipe: "/r.ts", endedAt: 5, durationMs: 3 },
        ...{ job: "bad", outcome: "failed", allowed: true, message: "why" },
      },
      { type: "job", run: "run1", recipe: "/r.ts", endedAt: 5, durationMs: 3, job: "good", outcome: "passed" },
      {
        ...{ type: "run", run: "run1", recipe: "/r.ts", endedAt: expect.any(Number), durationMs: 9, outcome: "failed" },
        counts: { passed: 3, failed: 1 },
        notPassed: [{ job: "bad", outcome: "failed", allowed: true, message: "why" }],
      },
    ]);
    expect(events).toEqual([
      { type: "warning", at: expect.any(Number), message: "false could not be told that bad failed: exit 1" },
    ]);
  });
});
