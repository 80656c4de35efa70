// What a paired coordinator asks of a runner that lets it run containers, and what runs in them then does. Most is decided
// before any engine hears of it; the rest is done on a real one.
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { connect as connectTo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect } from "vitest";
import { newAttemptId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import type { Container } from "../../protocol/place.ts";
import { compile, decide, resolveWant } from "../../runner/grants/decide.ts";
import { findEngine } from "../../runner/keeper/backends/container/engine.ts";
import { FURNISHED_IMAGE, IMAGE, testEngine } from "../rig/engine.ts";
import { requestOf, service } from "../runner/containers.ts";
import { drive } from "../runner/driven-jobs.ts";
import { attack } from "./attack.ts";
import { type Places, places } from "./places.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "sortie-abuse-containers-")));
const home = join(folder, "home");
const data = join(folder, "data");
const before = { SORTIE_HOME: process.env["SORTIE_HOME"], DOCKER_HOST: process.env["DOCKER_HOST"] };
let at: Places;

beforeAll(async () => {
  for (const path of [home, join(home, "runner"), data]) mkdirSync(path);
  process.env["SORTIE_HOME"] = home;
  at = await places(folder);
});
afterEach(() => at.goesOn());
afterAll(async () => {
  await at.close();
  for (const [name, value] of Object.entries(before))
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  rmSync(folder, { recursive: true });
});

/** A job in a container of the tests' image, with this of its own. */
const job = (container: Partial<Container> = {}, more: Partial<JobRequest> = {}): Partial<JobRequest> => {
  const { container: whole } = requestOf({ container });
  return { container: whole as Container, ...more };
};
const malformed = (container: Record<string, unknown>): Promise<string> =>
  at.malformed(job(container as Partial<Container>));
const OTHERS_DIGEST = `sha256:${"ab".repeat(32)}`;

describe("images beyond the grant", () => {
  for (const [name, image] of [
    ["an image that is not in the list", "node"],
    ["a granted image by the digest of another", `${IMAGE}@${OTHERS_DIGEST}`],
    ["a granted tag with the digest of another, which engines go by", `${IMAGE}:latest@${OTHERS_DIGEST}`],
    ["a tag in another case", `${IMAGE}:LATEST`],
    ["a repository in another case", IMAGE.toUpperCase()],
    ["the image's name as somebody else's repository", `evil/${IMAGE}`],
    ["the image's name at another registry", `evil.example/library/${IMAGE}`],
    ["a host that looks like the usual registry", `docker.io.evil.example/library/${IMAGE}`],
    ["an image that the engine has, by its id", OTHERS_DIGEST],
  ] as const)
    attack(name, "DENIED", async () => {
      at.grant({ image: [IMAGE, "alpine:*"] });
      await at.denied(job({ image }));
    });

  attack("an image by its id, where every image is granted", "DENIED, and told how to name it", async () => {
    at.grant({ image: true });
    expect(await at.denied(job({ image: OTHERS_DIGEST }))).toContain("--allow-all alone");
  });

  attack("an image's name that is an engine's option", "PROTOCOL: it is no request", async () => {
    at.grant({ image: true });
    for (const image of ["-v/:/host", "--privileged", "a b", "alpine\n", "../alpine"])
      expect(await malformed({ image }), image).toBe("PROTOCOL");
  });

  attack("a forbidden image in a service of a permitted job", "DENIED", async () => {
    at.grant({ image: [IMAGE] });
    await at.denied(job({ services: [service({ name: "db", image: `evil/${IMAGE}` })] }));
  });
});

describe("more than a confined container has", () => {
  for (const [name, container, flag] of [
    ["a privileged container", { privileged: true }, "--allow-privileged=privileged"],
    ["a capability", { capabilities: { add: ["SYS_ADMIN"], drop: [] } }, "--allow-privileged=cap:SYS_ADMIN"],
    ["every capability", { capabilities: { add: ["ALL"], drop: [] } }, "--allow-privileged=cap:ALL"],
    ["new privileges", { newPrivileges: true }, "--allow-privileged=new-privileges"],
    ["the graphics cards", { gpus: "all" }, "--allow-privileged=gpus"],
    ["the machine's own network", { network: "host" }, "--allow-network=host"],
    ["the engine's usual network", { network: "default" }, "--allow-network=bridge"],
  ] as const)
    attack(name, "DENIED, with the flag", async () => {
      at.grant({ image: [IMAGE], network: ["ci"], privileged: ["cap:NET_RAW"] });
      expect(await at.denied(job(container as unknown as Partial<Container>))).toContain(flag);
    });

  attack("one capability that is denied, within all of them, and within `privileged`", "DENIED", async () => {
    at.grant(true, { privileged: ["cap:SYS_ADMIN"] });
    for (const add of ["SYS_ADMIN", "CAP_SYS_ADMIN", "ALL"])
      await at.denied(job({ capabilities: { add: [add], drop: [] } }));
    await at.denied(job({ privileged: true }));
  });

  attack("memory, cores and processes beyond the usual", "DENIED", async () => {
    at.grant({ image: [IMAGE] });
    for (const more of [{ memory: limits.confinedMemoryBytes + 1 }, { cpus: 1_000 }, { pids: 1_000_000 }]) {
      expect(await at.denied(job({}, { limits: more }))).toContain("--allow-privileged=limits");
      await at.denied(job({ services: [service({ name: "db", limits: more })] }));
    }
  });

  attack("to be root, itself or in a service", "DENIED", async () => {
    at.grant({ image: [IMAGE], user: ["1000"] });
    for (const user of ["root", "0", "0:0", "00"]) await at.denied(job({}, { user }));
    await at.denied(job({ services: [service({ name: "db", user: "root" })] }));
  });

  attack("what no container can be asked for", "PROTOCOL: it is no request", async () => {
    at.grant({ image: true, privileged: true, network: true });
    for (const more of [
      { devices: ["/dev/kvm"] },
      { pid: "host" },
      { ipc: "host" },
      { userns: "host" },
      { securityOpt: ["seccomp=unconfined"] },
      { network: "container:0123456789ab" },
      { services: [{ ...service({ name: "db" }), privileged: true }] },
      { services: [{ ...service({ name: "db" }), mounts: [{ source: "/", target: "/x", readOnly: false }] }] },
      { services: [{ ...service({ name: "db" }), capabilities: { add: ["ALL"], drop: [] } }] },
    ])
      expect(await malformed(more), JSON.stringify(more)).toBe("PROTOCOL");
  });
});

describe("mounts beyond the grant", () => {
  const mount = (source: string, readOnly = true) => job({ mounts: [{ source, target: "/x", readOnly }] });

  attack("a path beside the granted one, and one above", "DENIED", async () => {
    at.grant({ image: [IMAGE], mount: [data] });
    for (const source of [`${data}base`, folder, "/etc", `${data}/../home`]) await at.denied(mount(source));
  });

  attack("a link within the granted path to /etc", "DENIED, and nothing told of where it goes", async () => {
    symlinkSync("/etc", join(data, "link"));
    at.grant({ image: [IMAGE], mount: [data] });
    const told = await at.denied(mount(join(data, "link")));
    expect(told).not.toContain("/etc");
  });

  attack("to write what was granted to be read", "DENIED", async () => {
    at.grant({ image: [IMAGE], mount: [`${data}:ro`] });
    await at.denied(mount(data, false));
  });

  attack(
    "the engine's socket, through a link, by either of its paths, or with the folder around it",
    "DENIED",
    async () => {
      symlinkSync("/var/run/docker.sock", join(data, "harmless"));
      at.grant({ image: [IMAGE], mount: true });
      for (const source of ["/run/docker.sock", "/var/run/docker.sock", "/run", "/var/run"])
        expect(await at.denied(mount(source))).toContain("the whole machine");
      // Nor is a peer told where its link goes.
      expect(await at.denied(mount(join(data, "harmless")))).not.toMatch(/docker|machine/);
    },
  );

  attack(
    "the engine's socket, by a path with the runner's own mark for such paths in it",
    "taken as it is",
    async () => {
      const sections = [compile({ allow: { mount: true }, deny: {} }, "flags")];
      for (const source of ["/runguarded:guarded:/docker.sock", "/runguarded:/docker.sock", "/guarded:guarded:run"]) {
        const want = await resolveWant(sections, { kind: "mount", value: `${source}:ro`, what: "mount it" });
        expect(decide(sections, want)).toMatchObject({ allowed: true, taken: source });
      }
    },
  );

  attack("a path of a megabyte, and of a hundred thousand names", "DENIED at once", async () => {
    at.grant({ image: [IMAGE], mount: [data] });
    // A look at each of them would keep the runner busy for minutes, and fill its memory.
    for (const source of [`/${"a/".repeat(100_000)}`, `/${"x".repeat(500_000)}`, `${data}${"/..".repeat(99_999)}`])
      expect((await at.denied(mount(source))).length).toBeLessThan(800);
  });

  attack("a socket that was put into a granted path", "DENIED", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(data, "file"), resolve));
    at.grant({ image: [IMAGE], mount: [data] });
    await at.denied(mount(join(data, "file")));
    await new Promise((resolve) => server.close(resolve));
  });

  attack(
    "the whole machine, its kernel's files, or the runner's own, where every mount is granted",
    "DENIED",
    async () => {
      at.grant({ image: [IMAGE], mount: true });
      for (const source of [
        "/",
        "/proc",
        "/proc/self/root",
        "/sys",
        "/dev",
        "/dev/mem",
        home,
        join(home, "runner"),
        folder,
      ])
        await at.denied(mount(source));
    },
  );

  attack(
    "a volume of the engine by its name, which may be a directory of its machine",
    "PROTOCOL: it is no request",
    async () => {
      at.grant({ image: [IMAGE], mount: true });
      for (const source of ["cache", "volume:cache", "./cache"])
        expect(await malformed({ mounts: [{ source, target: "/x", readOnly: true }] })).toBe("PROTOCOL");
    },
  );
});

const engine = await testEngine("docker");
const missing = "missing" in engine ? engine.missing : undefined;
if (missing !== undefined) console.warn(`left out: attacks in containers, because ${missing}`);

describe.skipIf(missing !== undefined)("on an engine", () => {
  beforeAll(() => {
    process.env["DOCKER_HOST"] = "host" in engine ? engine.host : "";
  });

  attack(
    "a job that asks for nothing, in an image whose user is root",
    "it has no root, no rights, no network",
    async () => {
      at.grant({ image: [IMAGE] });
      const script =
        "id -u; grep CapBnd /proc/self/status | tr -d '\\t '; ls /sys/class/net; mount -t tmpfs x /tmp 2>&1 | grep -c denied";
      expect((await at.run(script, job())).stdout).toBe(`65534\nCapBnd:${"0".repeat(16)}\nlo\n1\n`);
    },
  );

  attack("a tag that is moved once it was looked at", "what was looked at runs", async () => {
    const { docker } = await findEngine();
    const tag = (of: string): Promise<unknown> => docker.getImage(of).tag({ repo: "sortie-abuse-moved", tag: "one" });
    await tag(IMAGE);
    at.grant({ image: ["sortie-abuse-moved:*"] });
    const driven = await drive(at.runner, job({ image: "sortie-abuse-moved:one" }));
    await tag(FURNISHED_IMAGE);
    // The other one has this variable.
    expect((await driven.run("echo is ${FROM_IMAGE:-the first}")).stdout).toBe("is the first\n");
    await driven.finish();
    await docker.getImage("sortie-abuse-moved:one").remove();
  });

  attack("a folder within a mount, made a link by one job, mounted by the next", "DENIED", async () => {
    const shared = join(folder, "shared");
    mkdirSync(shared, { mode: 0o777 });
    at.grant({ image: [IMAGE], mount: [shared], shell: true });
    await at.run(`chmod 777 ${shared}`, {});
    const mounts = [{ source: shared, target: "/shared", readOnly: false }];
    const { exit } = await at.run("ln -s /etc /shared/sub", job({ mounts }));
    expect(exit.code).toBe(0);
    const asked = [{ source: join(shared, "sub"), target: "/sub", readOnly: true }];
    expect(await at.denied(job({ mounts: asked }))).not.toContain("/etc");
  });

  attack(
    "a volume of the job's own name that is a directory of the engine's machine",
    "failed-to-start: it is not the job's",
    async () => {
      const host = "host" in engine ? engine.host : "";
      const { docker } = await findEngine();
      // As if the engine were on another machine, where the workspace is a volume.
      const server = createServer((incoming) => {
        const outgoing = connectTo({ path: host.slice("unix://".length) });
        for (const one of [incoming, outgoing]) one.on("error", () => {});
        incoming.pipe(outgoing).pipe(incoming);
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      process.env["DOCKER_HOST"] = `tcp://127.0.0.1:${(server.address() as { port: number }).port}`;
      const attemptId = newAttemptId();
      const volume = { Name: `sortie-${attemptId}`, DriverOpts: { type: "none", o: "bind", device: "/etc" } };
      await docker.createVolume(volume);
      try {
        at.grant({ image: [IMAGE], mount: [data] });
        const { exit } = await at.run("cat passwd", job({}, { attemptId }));
        expect(exit).toMatchObject({ reason: "failed-to-start", message: expect.stringContaining("not this job's") });
        // Nor can a path of another machine be looked at.
        const mounts = [{ source: data, target: "/x", readOnly: true }];
        expect((await at.run("true", job({ mounts }))).exit).toMatchObject({ reason: "failed-to-start" });
      } finally {
        process.env["DOCKER_HOST"] = host;
        await docker.getVolume(volume.Name).remove();
        server.close();
      }
    },
  );

  attack(
    "a fork bomb",
    "it ends with its time, and others go on",
    async () => {
      at.grant({ image: [IMAGE], shell: true });
      const bomb = at.run("b() { b | b & }; b; while :; do sleep 3474; done", job({}, { timeoutMs: 1_500 }));
      expect((await at.run("echo meanwhile", {})).stdout).toBe("meanwhile\n");
      const { exit } = await bomb;
      expect(exit.reason === "timeout" || exit.code !== 0, JSON.stringify(exit)).toBe(true);
    },
    60_000,
  );
});
