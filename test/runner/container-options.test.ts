// What a job may ask of its container, as the process in it sees it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { call, FURNISHED_IMAGE, IMAGE } from "../rig/engine.ts";
import { collect, type Given, withEngines } from "./containers.ts";

const CAP_CHOWN = 1n << 0n;
const CAP_NET_ADMIN = 1n << 12n;

await withEngines(["docker", "podman"], (containers) => {
  const said = async (script: string, given: Given = {}): Promise<string> => {
    const { settled, stdout, stderr } = await containers().sh(script, given);
    expect({ settled, stderr }).toEqual({ settled: { kind: "exited", code: 0, heldOpen: false }, stderr: "" });
    return stdout.trim();
  };
  const capabilities = async (given: Given): Promise<bigint> =>
    BigInt(`0x${await said("sed -n 's/^CapEff:\\s*//p' /proc/self/status", given)}`);

  it("runs in the workspace, which is the job's own directory and anybody's to write", async () => {
    expect(await said("pwd; touch here; ls", { user: "nobody" })).toBe("/workspace\nhere");
  });

  it("runs where it is told, in a folder that the engine makes", async () => {
    expect(await said("pwd", { cwd: "/not/there" })).toBe("/not/there");
  });

  it("adds its variables to the image's", async () => {
    const env = await said("env", { env: [["NASTY", "a b\n'\"$x=ü"]] });
    expect(env).toContain("NASTY=a b\n'\"$x=ü");
    expect(env).toMatch(/^SORTIE_ATTEMPT_ID=\w{12}$/m);
    expect(env).toMatch(/^PATH=.*\/bin/m);
  });

  it("runs as the user", async () => {
    expect(await said("id -u", { user: "nobody" })).toBe("65534");
    expect(await said("id -u; id -g", { user: "1234:2345" })).toBe("1234\n2345");
    expect((await containers().sh("true", { user: "nosuchuser" })).settled).toMatchObject({
      kind: "failed",
      stage: "spawn",
      message: expect.stringContaining("nosuchuser"),
    });
  });

  it("starts argv itself whatever entrypoint the image has, and passes it to one that was asked for", async () => {
    const image = FURNISHED_IMAGE;
    const [plain] = await containers().run({ steps: [["/bin/echo", "a b", "", "'"]], container: { image } });
    expect(plain?.stdout).toBe("a b  '\n");
    const [alone] = await containers().run({ steps: [["/bin/echo"]], container: { image } });
    expect(alone?.stdout).toBe("\n");
    expect(await said("echo $FROM_IMAGE", { container: { image } })).toBe("yes");
    const [given] = await containers().run({
      steps: [["one", "two"]],
      container: { image, entrypoint: ["/bin/echo", "entry"] },
    });
    expect(given?.stdout).toBe("entry one two\n");
    const [shell] = await containers().run({
      steps: ["echo hi"],
      container: { entrypoint: ["/bin/busybox", "env", "X=1"] },
    });
    expect(shell?.stdout).toBe("hi\n");
  });

  it("has few capabilities and gets no new privileges, unless it is told", async () => {
    const usual = await capabilities({});
    expect(usual & CAP_CHOWN).toBe(CAP_CHOWN);
    expect(usual & CAP_NET_ADMIN).toBe(0n);
    const changed = await capabilities({ container: { capabilities: { add: ["NET_ADMIN"], drop: ["CHOWN"] } } });
    expect(changed & CAP_CHOWN).toBe(0n);
    expect(changed & CAP_NET_ADMIN).toBe(CAP_NET_ADMIN);
    expect(await capabilities({ container: { capabilities: { add: [], drop: ["ALL"] } } })).toBe(0n);
    // Docker asks for every capability there is, and a root that is in a container itself may not have them all.
    const privileged = await containers().sh("true", { container: { privileged: true } });
    if (privileged.settled.kind === "failed") expect(privileged.settled.message).toContain("unable to apply caps");
    else expect((await capabilities({ container: { privileged: true } })) & CAP_NET_ADMIN).toBe(CAP_NET_ADMIN);
    const noNew = "sed -n 's/^NoNewPrivs:\\s*//p' /proc/self/status";
    expect(await said(noNew)).toBe("1");
    expect(await said(noNew, { container: { newPrivileges: true } })).toBe("0");
  });

  it("mounts what it is told, and nothing where there is nothing", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sortie-mount-"));
    try {
      mkdirSync(join(folder, "rw"));
      writeFileSync(join(folder, "text"), "of the host");
      const mounts = [
        { source: folder, target: "/ro", readOnly: true },
        { source: join(folder, "rw"), target: "/rw", readOnly: false },
      ];
      expect(
        await said("cat /ro/text; touch /ro/x 2>/dev/null || echo ' read-only'; echo new > /rw/made", {
          container: { mounts },
        }),
      ).toBe("of the host read-only");
      expect(readFileSync(join(folder, "rw/made"), "utf8")).toBe("new\n");
      const missing = [{ source: join(folder, "none"), target: "/x", readOnly: true }];
      await expect(containers().sh("true", { container: { mounts: missing } })).rejects.toMatchObject({
        refusal: { stage: "spawn", message: expect.stringContaining("none, is not there") },
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("has a read-only root with file systems in memory beside it", async () => {
    const given = { container: { readOnly: true, tmpfs: [{ target: "/mem", bytes: 1_048_576 }] } };
    expect(
      await said(
        "touch /x 2>/dev/null || echo root; touch here /mem/x; df -k /mem | tail -1 | awk '{print $2}'",
        given,
      ),
    ).toBe("root\n1024");
    const twice = await containers().run({ ...given, steps: ["echo kept > here", "cat here"] });
    expect(twice.at(-1)?.stdout).toBe("kept\n");
  });

  it("keeps the image's volumes from step to step", async () => {
    const steps = ["echo one > /data/file; echo two > /file", "cat /data/file /file", "cat /data/file /file"];
    const results = await containers().run({ steps, container: { image: FURNISHED_IMAGE } });
    expect(results.map(({ stdout }) => stdout)).toEqual(["", "one\ntwo\n", "one\ntwo\n"]);
  });

  it("limits memory without swap, processes, cores and shared memory", async () => {
    const v1 = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
    const script = [
      `cat ${v1} 2>/dev/null || cat /sys/fs/cgroup/memory.max`,
      "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
      "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max",
      "df -k /dev/shm | tail -1 | awk '{print $2}'",
    ].join("; ");
    const given = { limits: { memory: 33_554_432, pids: 77, cpus: 0.5 }, container: { shm: 2_097_152 } };
    expect(await said(script, given)).toBe("33554432\n77\n50000\n2048");
  });

  it("tells what ran out of memory, where the engine does", async () => {
    const given = { steps: ["x=aaaaaaaa; while :; do x=$x$x; done"], limits: { memory: 16_777_216 } };
    const [settled, isTold] = await containers().with(given, async (running) => {
      const how = (await collect(running)).settled;
      const filters = encodeURIComponent(JSON.stringify({ label: [`sortie.owner=${containers().owner}`] }));
      const list = await call(containers().host, "GET", `/containers/json?all=1&filters=${filters}`);
      const [{ Id }] = JSON.parse(list.text) as [{ Id: string }];
      const { State } = JSON.parse((await call(containers().host, "GET", `/containers/${Id}/json`)).text);
      return [how, State.OOMKilled];
    });
    // Podman 4.3 does not with cgroup v1, and Docker with v2 not where the group is gone before it was looked at.
    expect(settled).toEqual(
      isTold
        ? { kind: "out-of-memory", code: null, signal: "KILL", heldOpen: false }
        : { kind: "exited", code: 137, ambiguous: true, heldOpen: false },
    );
  });

  it("has no network where it is told so, and refuses one that is not there", async () => {
    expect(await said("ls /sys/class/net", { container: { network: "none" } })).toBe("lo");
    expect((await containers().sh("true", { container: { network: "no-such-network" } })).settled).toMatchObject({
      kind: "failed",
      stage: "spawn",
    });
  });

  it("refuses an image that is not there and may not be pulled", async () => {
    await expect(containers().run({ container: { image: "no-such/image:1" } })).rejects.toMatchObject({
      refusal: { stage: "image", message: expect.stringContaining('pull: "never"') },
    });
    await expect(containers().run({ container: { image: IMAGE, platform: "linux/s390x" } })).rejects.toMatchObject({
      refusal: { stage: "image" },
    });
    expect(await containers().left()).toEqual([]);
  });

  it("ends what a command left in the background with the command", async () => {
    const began = performance.now();
    const result = await containers().sh("sleep 4981 & setsid sleep 4981 & echo main; exit 4");
    expect(result).toEqual({ settled: { kind: "exited", code: 4, heldOpen: false }, stdout: "main\n", stderr: "" });
    expect(performance.now() - began).toBeLessThan(30_000);
  });

  it("leaves nothing", async () => {
    expect(await containers().left()).toEqual([]);
    expect(containers().logged).toEqual([]);
  });
});
