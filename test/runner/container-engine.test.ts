// Which engine is used: as Docker's own command finds it; and what is said where there is none.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { connect as connectTo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import { findEngine } from "../../runner/keeper/backends/container/engine.ts";
import { Containers, collect, requestOf, says, withEngines } from "./containers.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sortie-engine-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const context = (name: string, Host: string): void => {
  const path = join(folder, "contexts/meta", createHash("sha256").update(name).digest("hex"));
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "meta.json"), JSON.stringify({ Name: name, Endpoints: { docker: { Host } } }));
};
const refusal = async (env: NodeJS.ProcessEnv): Promise<string> => {
  const error = await findEngine({ DOCKER_CONFIG: folder, ...env }).then(
    () => undefined,
    (why: Error & { refusal?: { stage: string } }) => why,
  );
  expect(error?.refusal?.stage).toBe("engine");
  return error?.message ?? "";
};

describe("where no engine answers", () => {
  it("says what was tried, and what to do", async () => {
    expect(await refusal({ DOCKER_HOST: `unix://${folder}/none` })).toMatch(
      /tried unix:\/\/\S+\/none of DOCKER_HOST \(ENOENT\); start Docker or Podman's socket/,
    );
    expect(await refusal({ DOCKER_HOST: "tcp://127.0.0.1:1" })).toContain(
      "tcp://127.0.0.1:1 of DOCKER_HOST (ECONNREFUSED)",
    );
  });

  it("refuses an engine over ssh, and an address it does not know", async () => {
    expect(await refusal({ DOCKER_HOST: "ssh://me@there" })).toContain("an engine over ssh is not supported");
    expect(await refusal({ DOCKER_HOST: "npipe:////./pipe/x" })).toContain("unix:// and tcp:// are supported");
  });

  it("tells a context that is not there, or cannot be read", async () => {
    expect(await refusal({ DOCKER_CONTEXT: "gone" })).toContain("the docker context gone cannot be read");
    writeFileSync(join(folder, "config.json"), "{");
    expect(await refusal({})).toContain("config.json cannot be read");
  });

  it("tells TLS files that are not there", async () => {
    expect(
      await refusal({ DOCKER_HOST: "tcp://127.0.0.1:1", DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: folder }),
    ).toContain("(ENOENT)");
  });
});

await withEngines(["docker", "podman"], (containers, kind) => {
  it("is the context's, the environment's before the configuration's, and DOCKER_HOST before both", async () => {
    const { host } = containers();
    context("good", host);
    context("bad", `unix://${folder}/none`);
    writeFileSync(join(folder, "config.json"), JSON.stringify({ currentContext: "good" }));
    const found = async (env: NodeJS.ProcessEnv): Promise<string> =>
      (await findEngine({ DOCKER_CONFIG: folder, ...env })).address.url;
    expect(await found({})).toBe(host);
    expect(await refusal({ DOCKER_CONTEXT: "bad" })).toContain("of the docker context bad");
    writeFileSync(join(folder, "config.json"), JSON.stringify({ currentContext: "bad" }));
    expect(await found({ DOCKER_CONTEXT: "good" })).toBe(host);
    expect(await found({ DOCKER_HOST: host })).toBe(host);
    expect((await findEngine({ DOCKER_HOST: host })).isPodman).toBe(kind === "podman");
  });

  it("is the user's own Podman where there is no Docker", async () => {
    const { host } = containers();
    mkdirSync(join(folder, "podman"));
    symlinkSync(host.slice("unix://".length), join(folder, "podman/podman.sock"));
    const { address } = await findEngine({ DOCKER_CONFIG: folder, XDG_RUNTIME_DIR: folder });
    expect(["unix:///var/run/docker.sock", `unix://${folder}/podman/podman.sock`]).toContain(address.url);
  });

  it("does without this machine's files over tcp: the workspace is a volume, kept from step to step", async () => {
    const proxy = await tcpProxy(containers().host.slice("unix://".length));
    const before = process.env["DOCKER_HOST"];
    process.env["DOCKER_HOST"] = proxy.url;
    const remote = new Containers(proxy.url);
    try {
      const results = await remote.run({ steps: ["pwd; echo kept > here", "cat here"] });
      expect(results.map(({ stdout }) => stdout)).toEqual(["/workspace\n", "kept\n"]);
      expect(remote.marks.at(-1)).toContain(proxy.url);
      expect(await remote.left()).toEqual([]);
      expect(remote.logged).toEqual([]);
    } finally {
      process.env["DOCKER_HOST"] = before;
      await remote.close();
      await proxy.stop();
    }
  });

  it("is lost with its job when it goes away, and what is left is reaped once it is back", async () => {
    const proxy = await tcpProxy(containers().host.slice("unix://".length));
    const before = process.env["DOCKER_HOST"];
    process.env["DOCKER_HOST"] = proxy.url;
    const remote = new Containers(proxy.url);
    try {
      const request = requestOf({ steps: ["echo up; sleep 7904"] });
      const site = await remote.open(request);
      const running = await site.start(
        { command: request.steps[0] as never, stdin: false },
        new AbortController().signal,
      );
      const result = collect(running);
      await says(running, "up\n");
      await proxy.stop();
      expect(await result).toMatchObject({ settled: { kind: "lost", heldOpen: false }, stdout: "up\n" });
      await site.end();
      await site.close();
      expect(remote.logged).toHaveLength(1);
      const mark = remote.marks.at(-1) as string;
      await expect(remote.backend.reap(request.attemptId, mark)).rejects.toThrow();
      await remote.backend.reap(request.attemptId, mark.replace(proxy.url, containers().host));
    } finally {
      process.env["DOCKER_HOST"] = before;
      await remote.close();
    }
  });

  it("ends a job within a time while it is silent, tells that it does not know, and is cleaned up later", async () => {
    const proxy = await tcpProxy(containers().host.slice("unix://".length));
    const before = process.env["DOCKER_HOST"];
    process.env["DOCKER_HOST"] = proxy.url;
    const remote = new Containers(proxy.url);
    try {
      const request = requestOf({ steps: ["echo up; sleep 7905"] });
      const site = await remote.open(request);
      const running = await site.start(
        { command: request.steps[0] as never, stdin: false },
        new AbortController().signal,
      );
      const result = collect(running);
      await says(running, "up\n");
      proxy.silence();
      const began = performance.now();
      expect(await running.kill(100)).toEqual({ ended: [], survivors: [], unknown: expect.any(String) });
      expect(await result).toMatchObject({ settled: { kind: "lost", heldOpen: false }, stdout: "up\n" });
      await site.end();
      expect(performance.now() - began).toBeLessThan(3 * limits.killedWithinMs);
      expect(await site.close()).toBe(false);
      expect(performance.now() - began).toBeLessThan(3 * limits.killedWithinMs + limits.cleanedWithinMs);
      proxy.speak();
      await remote.backend.reap(request.attemptId, remote.marks.at(-1) as string);
      expect(await remote.left()).toEqual([]);
    } finally {
      process.env["DOCKER_HOST"] = before;
      await proxy.stop();
      await remote.close();
    }
  }, 120_000);

  it("starts nothing once the job is cancelled, at the beginning, between two steps, or while the engine is silent", async () => {
    const proxy = await tcpProxy(containers().host.slice("unix://".length));
    const before = process.env["DOCKER_HOST"];
    process.env["DOCKER_HOST"] = proxy.url;
    const remote = new Containers(proxy.url);
    const touch = { shell: "echo ran; touch /made" };
    const never = { settled: { kind: "failed", code: null, stage: "spawn" }, stdout: "", stderr: "" };
    try {
      const request = requestOf();
      const site = await remote.open(request);
      const aborted = async (between: () => void): Promise<void> => {
        const cancelled = new AbortController();
        const starting = site.start({ command: touch, stdin: false }, cancelled.signal);
        between();
        const began = performance.now();
        cancelled.abort();
        expect(await collect(await starting)).toMatchObject(never);
        // Not as long as a silent engine is waited for.
        expect(performance.now() - began).toBeLessThan(limits.engineAnswersMs);
      };
      await aborted(() => {});
      expect(
        (await collect(await site.start({ command: touch, stdin: false }, new AbortController().signal))).stdout,
      ).toBe("ran\n");
      await aborted(() => {});
      await aborted(() => proxy.silence());
      proxy.speak();
      await site.end();
      expect(await site.close()).toBe(true);
      expect(await remote.left()).toEqual([]);
      expect(remote.logged).toEqual([]);
    } finally {
      process.env["DOCKER_HOST"] = before;
      await proxy.stop();
      await remote.close();
    }
  });
});

/**
 * The engine's socket by tcp, until it is stopped: then everything is cut, and nothing answers. While it is silent, it
 * takes connections and passes nothing on, as a process that was stopped or a machine that was powered off.
 */
async function tcpProxy(path: string): Promise<{ url: string; silence(): void; speak(): void; stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  let silent = false;
  const server: Server = createServer({ allowHalfOpen: true }, (incoming) => {
    const outgoing = connectTo({ path, allowHalfOpen: true });
    for (const socket of [incoming, outgoing]) {
      sockets.add(socket);
      if (silent) socket.cork();
      socket.on("error", () => {});
      socket.on("close", () => {
        incoming.destroy();
        outgoing.destroy();
        sockets.delete(socket);
      });
    }
    incoming.pipe(outgoing);
    outgoing.pipe(incoming);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  let stopping: Promise<void> | undefined;
  return {
    url: `tcp://127.0.0.1:${port}`,
    silence() {
      silent = true;
      for (const socket of sockets) socket.cork();
    },
    speak() {
      silent = false;
      for (const socket of sockets) socket.uncork();
    },
    stop: () =>
      (stopping ??= new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      })),
  };
}
