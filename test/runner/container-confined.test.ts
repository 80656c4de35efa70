// What a confined container may do, as the process in it and the engine see it.
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { Confinement } from "../../protocol/confinement.ts";
import { newAttemptId } from "../../protocol/ids.ts";
import { findEngine } from "../../runner/keeper/backends/container/engine.ts";
import { call, IMAGE } from "../rig/engine.ts";
import { collect, type Given, requestOf, says, service, withEngines } from "./containers.ts";

const MiB = 1024 * 1024;
const confine: Confinement = {
  capabilities: [],
  network: "none",
  user: "not-root",
  limits: { memory: 256 * MiB, cpus: 1.5, pids: 40 },
  mounts: "real",
};

/** Else it would go with the job that it is made of. */
const UNLABELLED = "LABEL sortie.owner=nobody sortie.attempt=none";

await withEngines(["docker"], (containers) => {
  const said = async (script: string, given: Given = {}): Promise<string> => {
    const { settled, stdout, stderr } = await containers().sh(script, { confine, ...given });
    expect({ settled, stderr }).toEqual({ settled: { kind: "exited", code: 0, heldOpen: false }, stderr: "" });
    return stdout.trim();
  };
  /** An image made of the tests' own, with these lines in it; removed by the engine's end. */
  const imageWith = async (name: string, changes: readonly string[], script = "true"): Promise<string> =>
    containers().with({ steps: [script] }, async (running, _site) => {
      running.stdout.resume();
      running.stderr.resume();
      await running.settled;
      const filters = encodeURIComponent(JSON.stringify({ label: [`sortie.owner=${containers().owner}`] }));
      const { text } = await call(containers().host, "GET", `/containers/json?all=1&filters=${filters}`);
      const [{ Id }] = JSON.parse(text) as [{ Id: string }];
      const { docker } = await findEngine();
      await docker
        .getContainer(Id)
        .commit({ repo: name, tag: "one", changes: [UNLABELLED, ...changes].join("\n") } as never);
      return `${name}:one`;
    });

  it("has no capability, no network and no root, and writes its workspace", async () => {
    const status = "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\\t '";
    expect(
      (await said(`id -u; id -g; ${status}; ls /sys/class/net | tr '\\n' ' '; echo; touch here; ls`)).split("\n"),
    ).toEqual(
      ["65534", "65534", "CapEff:0".padEnd(23, "0"), "CapBnd:0".padEnd(23, "0"), "NoNewPrivs:1", "lo ", "here"].map(
        (line) => line,
      ),
    );
  });

  it("has limits where it asks for less, and less where it asks for that, as the engine tells it", async () => {
    const given: Given = {
      confine,
      steps: ["sleep 3471"],
      limits: { pids: 20 },
      container: { tmpfs: [{ target: "/mem" }], capabilities: { add: ["NET_RAW"], drop: [] } },
    };
    await containers().with(given, async (running, _site) => {
      running.stdout.resume();
      running.stderr.resume();
      const filters = encodeURIComponent(JSON.stringify({ label: [`sortie.owner=${containers().owner}`] }));
      const list = await call(containers().host, "GET", `/containers/json?filters=${filters}`);
      const [{ Id }] = JSON.parse(list.text) as [{ Id: string }];
      const { Config, HostConfig } = JSON.parse((await call(containers().host, "GET", `/containers/${Id}/json`)).text);
      expect(Config.User).toBe("65534:65534");
      expect(HostConfig).toMatchObject({
        Memory: 256 * MiB,
        MemorySwap: 256 * MiB,
        CpuPeriod: 100_000,
        CpuQuota: 150_000,
        PidsLimit: 20,
        NetworkMode: "none",
        Privileged: false,
        CapDrop: ["ALL"],
        CapAdd: ["NET_RAW"],
        SecurityOpt: expect.arrayContaining(["no-new-privileges"]),
      });
      running.killNow();
      await running.settled;
    });
    expect(await said("grep CapBnd /proc/self/status | tr -d '\\t '", given)).toBe("CapBnd:0000000000002000");
    expect(await said("df -k /mem | tail -1 | awk '{print $2}'", given)).toBe("262144");
  });

  it("keeps of the usual capabilities what is granted, and drops what the job does", async () => {
    const bounding = "grep CapBnd /proc/self/status | tr -d '\\t '";
    const kept = { ...confine, capabilities: ["CHOWN", "KILL"] };
    expect(await said(bounding, { confine: kept })).toBe("CapBnd:0000000000000021");
    const container = { capabilities: { add: [], drop: ["CHOWN"] } };
    expect(await said(bounding, { confine: kept, container })).toBe("CapBnd:0000000000000020");
  });

  it("is the image's user where that is not root by any name, and by number in each step", async () => {
    const passwd =
      "echo 'app:x:1500:1600::/:/bin/sh' >> /etc/passwd; echo 'boss:x:0:0::/:/bin/sh' >> /etc/passwd; chmod 666 /etc/passwd";
    const image = await imageWith("sortie-test-users", ["USER app"], passwd);
    const ids = "id -u; id -g";
    expect(await said(ids, { container: { image } })).toBe("1500\n1600");
    // A step that makes root of the name changes nothing for the next.
    const steps = [
      "sed -i.x 's/app:x:1500/app:x:0/' /etc/passwd 2>/dev/null || { sed 's/app:x:1500/app:x:0/' /etc/passwd > /tmp/p; cat /tmp/p > /etc/passwd; }; grep app /etc/passwd",
      ids,
    ];
    const results = await containers().run({ confine, steps, container: { image } });
    expect(results.map(({ stdout }) => stdout)).toEqual(["app:x:0:1600::/:/bin/sh\n", "1500\n1600\n"]);
    await expect(containers().sh("id", { confine, user: "boss", container: { image } })).rejects.toMatchObject({
      refusal: { stage: "spawn", message: expect.stringContaining("is root in this image") },
    });
    await expect(containers().sh("id", { confine, user: "nosuch", container: { image } })).rejects.toThrow(
      "not in the image's",
    );
    expect(await said(ids, { user: "1500:7", container: { image } })).toBe("1500\n7");
    const asRoot = await imageWith("sortie-test-boss", ["USER boss"], passwd);
    expect(await said("id -u", { container: { image: asRoot } })).toBe("65534");
  });

  it("is created of the image that was looked at, also where its name means another one by then", async () => {
    const image = await imageWith("sortie-test-moved", [], "echo first > /which");
    const request = requestOf({ container: { image }, steps: ["cat /which", "cat /which"] });
    const site = await containers().open(request, undefined, confine);
    try {
      await imageWith("sortie-test-moved", [], "echo second > /which");
      for (const command of request.steps) {
        const running = await site.start({ command, stdin: false }, new AbortController().signal);
        let text = "";
        running.stdout.on("data", (bytes: Buffer) => {
          text += String(bytes);
        });
        running.stderr.resume();
        await running.settled;
        expect(text).toBe("first\n");
      }
    } finally {
      await site.end();
      await site.close();
    }
    expect((await containers().sh("cat /which", { container: { image } })).stdout).toBe("second\n");
  });

  it("mounts no path that a link has come into since it was granted", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sortie-confined-"));
    try {
      const source = join(folder, "data");
      mkdirSync(source);
      writeFileSync(join(source, "file"), "mine");
      const given = { confine, container: { mounts: [{ source, target: "/data", readOnly: true }] } };
      expect(await said("cat /data/file", given)).toBe("mine");
      const request = requestOf(given);
      const site = await containers().open(request, undefined, confine);
      renameSync(source, join(folder, "away"));
      symlinkSync("/etc", source);
      const running = await site.start(
        { command: { shell: "cat /data/passwd" }, stdin: false },
        new AbortController().signal,
      );
      expect(await running.settled).toMatchObject({
        kind: "failed",
        stage: "spawn",
        message: expect.stringContaining("a link on the way"),
      });
      await site.close();
      await expect(containers().sh("true", given)).rejects.toThrow("a link on the way");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("ends a fork bomb with its container", async () => {
    const began = performance.now();
    await containers().with({ confine, steps: ["b() { b | b & }; b; sleep 3472"] }, async (running) => {
      running.stdout.resume();
      let said = "";
      running.stderr.on("data", (bytes: Buffer) => {
        said = `${said}${bytes}`.slice(0, 10_000);
      });
      for (; !/can't fork|Resource temporarily/.test(said); await new Promise((resolve) => setImmediate(resolve)));
      await running.kill(0);
      // Its own shell may have given up for want of a process.
      expect(["signaled", "exited"]).toContain((await running.settled).kind);
    });
    expect(performance.now() - began).toBeLessThan(45_000);
  });

  it("has services that it reaches, and that reach nothing else", async () => {
    const services = [
      service({
        name: "web",
        entrypoint: ["httpd"],
        command: ["-f", "-p", "8080", "-h", "/etc"],
        health: { command: { shell: "wget -qO- http://127.0.0.1:8080/group" }, everyMs: 100 },
      }),
    ];
    const script = "wget -qO- http://web:8080/group | head -1; id -u; sleep 3473";
    await containers().with({ confine, steps: [script], container: { services } }, async (running) => {
      running.stderr.resume();
      await says(running, "root:x:0:\n65534\n");
      const filters = encodeURIComponent(JSON.stringify({ label: [`sortie.owner=${containers().owner}`] }));
      const [network] = JSON.parse((await call(containers().host, "GET", `/networks?filters=${filters}`)).text) as [
        unknown,
      ];
      expect(network).toMatchObject({ Internal: true });
      running.killNow();
      await running.settled;
    });
  });

  it("brings together what commands at the same time changed, as the job's user", async () => {
    const request = requestOf();
    const site = await containers().open(request, undefined, confine);
    const run = async (shell: string): Promise<string> => {
      const own = { attemptId: newAttemptId(), env: [], cwd: undefined, mark: () => {} };
      const running = await site.start({ command: { shell }, stdin: false, own }, new AbortController().signal);
      return (await collect(running)).stdout;
    };
    try {
      await run("touch /tmp/a /tmp/b");
      await Promise.all([run("rm /tmp/a; sleep 0.31"), run("touch /tmp/c; sleep 0.31")]);
      expect(await run("ls /tmp; stat -c %u /tmp/c")).toBe("b\nc\n65534\n");
    } finally {
      await site.end();
      await site.close();
    }
  });

  it("leaves nothing on the engine", async () => {
    expect(await containers().left()).toEqual([]);
    for (const name of ["users", "boss", "moved"])
      await call(containers().host, "DELETE", `/images/${IMAGE}-${name}:one?force=1`);
  });
});

await withEngines(["podman"], (containers) => {
  it("is confined in the same way", async () => {
    const script = "id -u; grep CapBnd /proc/self/status | tr -d '\\t '; ls /sys/class/net; touch /workspace/x";
    const { settled, stdout } = await containers().sh(script, { confine });
    expect(settled).toMatchObject({ kind: "exited", code: 0 });
    expect(stdout).toBe(`65534\nCapBnd:${"0".repeat(16)}\nlo\n`);
  });
});
