// Where a job's commands run: the options of job(), and what a runner is asked for.
import * as v from "valibot";
import { describe, expect, expectTypeOf, it } from "vitest";
import { fingerprintOf } from "../../coordinator/fingerprint.ts";
import { type Plan, planOf } from "../../coordinator/plan.ts";
import { type Job, type JobOptions, job, recipe, type ServiceOptions, sh } from "../../coordinator/recipe/sdk.ts";
import { renderPlan } from "../../coordinator/views/plan.ts";
import { limits } from "../../protocol/limits.ts";
import { Container, ResourceLimits, SshTarget } from "../../protocol/place.ts";
import { parseSize } from "../../protocol/sizes.ts";

const MiB = 1024 * 1024;

const plan = (jobs: Record<string, Job>): Plan =>
  planOf({ path: import.meta.filename, recipe: recipe(jobs), source: "" });
const one = (options: Partial<JobOptions>): Plan => plan({ one: job({ run: "true", ...options }) });
const of = (options: unknown) => () => job({ run: "true", ...(options as Partial<JobOptions>) });
const inContainer = (options: object) => of({ container: { image: "alpine:3", ...options } });
const withService = (options: object) => inContainer({ services: { db: { image: "postgres:17", ...options } } });

describe("a size", () => {
  it("is bytes, or a number with a unit, in steps of 1,024", () => {
    expect(["64k", "512m", "2g", "1.5G", "1t", "500MiB", "1 GiB", "100", 0, 4096].map(parseSize)).toEqual([
      ...[65_536, 512 * MiB, 2_048 * MiB, 1_536 * MiB, 1024 ** 4, 500 * MiB, 1_024 * MiB, 100, 0, 4_096],
    ]);
    for (const wrong of ["", "m", "1x", "1MB", "-1", "1e3", -1, 1.5, Number.NaN, Infinity, "9999999t", null, {}])
      expect(parseSize(wrong)).toBeUndefined();
  });
});

describe("a job in a container", () => {
  it("needs no more than an image, and is asked for as the runner takes it", () => {
    const [asked] = one({ container: "node:24" }).jobs;
    expect(asked?.container).toEqual({
      image: "node:24",
      pull: "missing",
      mounts: [],
      tmpfs: [],
      readOnly: false,
      capabilities: { add: [], drop: [] },
      newPrivileges: false,
      privileged: false,
      services: [],
    });
    expect(one({ container: { image: "node:24" } }).jobs[0]?.container).toEqual(asked?.container);
  });

  it("has everything of its options in the form in which it is sent", () => {
    const [asked] = one({
      container: {
        image: "ghcr.io/acme/app@sha256:0123",
        pull: "always",
        entrypoint: [],
        mounts: {
          "/data": "/srv/data",
          "/cache": { source: "/var/cache", writable: true },
          "/etc/x": { source: "/x" },
        },
        tmpfs: ["/tmp", { path: "/run", size: "64m" }],
        network: "none",
        shm: "1g",
        gpus: 2,
        readOnly: true,
        capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] },
        newPrivileges: true,
        privileged: true,
        platform: "linux/arm64",
      },
      user: "1000:1000",
      limits: { memory: "512m", cpus: 1.5, pids: 100 },
    }).jobs;
    expect(asked).toMatchObject({
      container: {
        image: "ghcr.io/acme/app@sha256:0123",
        pull: "always",
        entrypoint: [],
        mounts: [
          { source: "/srv/data", target: "/data", readOnly: true },
          { source: "/var/cache", target: "/cache", readOnly: false },
          { source: "/x", target: "/etc/x", readOnly: true },
        ],
        tmpfs: [{ target: "/tmp" }, { target: "/run", bytes: 64 * MiB }],
        network: "none",
        shm: 1_024 * MiB,
        gpus: 2,
        readOnly: true,
        capabilities: { add: ["NET_ADMIN"], drop: ["ALL"] },
        newPrivileges: true,
        privileged: true,
        platform: "linux/arm64",
      },
      user: "1000:1000",
      limits: { memory: 512 * MiB, cpus: 1.5, pids: 100 },
    });
    // Through JSON, as it is sent.
    const sent = JSON.parse(JSON.stringify(asked)) as typeof asked;
    expect(v.is(Container, sent?.container) && v.is(ResourceLimits, sent?.limits)).toBe(true);
  });

  it("has services, each with its check in any form of a command", () => {
    const healths: [ServiceOptions["health"], unknown][] = [
      ["pg_isready", { command: { shell: "pg_isready" }, everyMs: limits.serviceCheckEveryMs }],
      [sh`pg_isready -U ${"a b"}`, { command: { shell: "pg_isready -U 'a b'" }, everyMs: 1_000 }],
      [["redis-cli", "ping"], { command: { argv: ["redis-cli", "ping"] }, everyMs: 1_000 }],
      [
        { run: ["true"], every: "200ms" },
        { command: { argv: ["true"] }, everyMs: 200 },
      ],
      [{ run: sh`true` }, { command: { shell: "true" }, everyMs: 1_000 }],
    ];
    for (const [health, expected] of healths) {
      const service = { image: "postgres:17", env: { A: "1" }, ...(health === undefined ? {} : { health }) };
      const { container } = one({ container: { image: "node:24", services: { db: service, cache: "redis:7" } } })
        .jobs[0] as Plan["jobs"][number];
      expect(container?.services).toEqual([
        {
          ...{ name: "db", image: "postgres:17", pull: "missing", env: [["A", "1"]], tmpfs: [], limits: {} },
          ...{ health: expected, healthyWithinMs: limits.serviceHealthyMs },
        },
        {
          ...{ name: "cache", image: "redis:7", pull: "missing", env: [], tmpfs: [], limits: {} },
          healthyWithinMs: limits.serviceHealthyMs,
        },
      ]);
      expect(v.is(Container, JSON.parse(JSON.stringify(container)))).toBe(true);
    }
    const full: ServiceOptions = {
      ...{
        image: "postgres:17",
        pull: "never",
        entrypoint: ["/bin/x"],
        command: ["-c", "fsync=off"],
        user: "postgres",
      },
      ...{ tmpfs: ["/var/lib"], limits: { memory: "1g" }, healthyWithin: "2m" },
    };
    expect(
      one({ container: { image: "node:24", services: { db: full } } }).jobs[0]?.container?.services[0],
    ).toMatchObject({
      ...{ pull: "never", entrypoint: ["/bin/x"], command: ["-c", "fsync=off"], user: "postgres" },
      ...{ tmpfs: [{ target: "/var/lib" }], limits: { memory: 1_024 * MiB }, healthyWithinMs: 120_000 },
    });
  });

  it("says which of its options is wrong, and what it wants", () => {
    expect(of({ container: 1 })).toThrow(/container must be an image such as "alpine:3", or an object, not 1/);
    expect(of({ container: {} })).toThrow(/container needs an image/);
    expect(of({ container: "-v" })).toThrow(/container\.image must be an image's name .* not "-v"/);
    expect(of({ container: "" })).toThrow(/container\.image/);
    expect(inContainer({ imgae: "x" })).toThrow(/container has no option "imgae"; did you mean image\?/);
    expect(inContainer({ pull: "allways" })).toThrow(/container\.pull must be "always", "missing" or "never"/);
    expect(inContainer({ entrypoint: "sh" })).toThrow(/container\.entrypoint must be a list of strings, not "sh"/);
    expect(inContainer({ mounts: ["/a:/b"] })).toThrow(/container\.mounts must be an object such as/);
    expect(inContainer({ mounts: { data: "/srv" } })).toThrow(
      /A name in container\.mounts must be an absolute path, not "data"/,
    );
    expect(inContainer({ mounts: { "/data": "srv" } })).toThrow(
      /container\.mounts\["\/data"\] must be an absolute path, not "srv"/,
    );
    expect(inContainer({ mounts: { "/d": { source: "/s", writeable: true } } })).toThrow(/did you mean writable\?/);
    expect(inContainer({ mounts: { "/d": { source: "/s", writable: "yes" } } })).toThrow(/writable must be true or/);
    expect(inContainer({ tmpfs: "/tmp" })).toThrow(/container\.tmpfs must be a list of paths/);
    expect(inContainer({ tmpfs: ["tmp"] })).toThrow(/container\.tmpfs\[0\] must be an absolute path, not "tmp"/);
    expect(inContainer({ tmpfs: [{ path: "/t", size: "big" }] })).toThrow(/tmpfs\[0\]\.size must be bytes or a size/);
    expect(inContainer({ network: "--host" })).toThrow(/container\.network must be/);
    expect(inContainer({ shm: 0 })).toThrow(/container\.shm must be at least a byte/);
    expect(inContainer({ gpus: 0 })).toThrow(/container\.gpus must be "all" or a whole number from 1, not 0/);
    expect(inContainer({ readOnly: 1 })).toThrow(/container\.readOnly must be true or false/);
    expect(inContainer({ capabilities: { add: ["net_admin"] } })).toThrow(/capabilities\.add must be a list of names/);
    expect(inContainer({ capabilities: ["ALL"] })).toThrow(/container\.capabilities must be an object with add/);
    expect(inContainer({ platform: "arm64" })).toThrow(/container\.platform must be such as "linux\/arm64"/);
    expect(inContainer({ entrypoint: ["a\0"] })).toThrow(/container\.entrypoint/);
    expect(inContainer({ mounts: { "/a\0": "/b" } })).toThrow(/container cannot be asked for: .*without a NUL/);
    expect(inContainer({ tmpfs: Array.from({ length: 101 }, (_, index) => `/${index}`) })).toThrow(/cannot be asked/);
  });

  it("says which option of a service is wrong", () => {
    expect(inContainer({ services: ["redis"] })).toThrow(/container\.services must be an object of services/);
    expect(inContainer({ services: { DB: "a" } })).toThrow(/The name of a service must be .* not "DB"/);
    expect(inContainer({ services: { db: {} } })).toThrow(/container\.services\.db needs an image/);
    expect(withService({ healt: "true" })).toThrow(
      /container\.services\.db has no option "healt"; did you mean health\?/,
    );
    expect(withService({ health: [] })).toThrow(/services\.db\.health must be a shell string, an sh template or argv/);
    expect(withService({ health: { run: " " } })).toThrow(/services\.db\.health\.run must be/);
    expect(withService({ health: { run: "true", every: 0 } })).toThrow(/health\.every must be at least a millisecond/);
    expect(withService({ health: 1 })).toThrow(/services\.db\.health must be a command, or an object with run, not 1/);
    expect(withService({ healthyWithin: "soon" })).toThrow(/services\.db\.healthyWithin must be/);
    expect(withService({ env: { A: 1 } })).toThrow(/services\.db\.env\.A must be a string/);
    expect(withService({ env: { SORTIE_A: "1" } })).toThrow(/services\.db\.env has a wrong entry: .*SORTIE_/);
    expect(withService({ limits: { memory: "1k" } })).toThrow(/services\.db\.limits\.memory must be at least 6 MiB/);
    expect(withService({ user: "a b" })).toThrow(/services\.db\.user must be a name/);
    const many = Array.from({ length: limits.servicesPerJob + 1 }, (_, index) => [`s${index}`, "a"]);
    expect(inContainer({ services: Object.fromEntries(many) })).toThrow(/container cannot be asked for: services/);
  });
});

describe("a job over ssh", () => {
  it("goes to a host, with a user and a port if it names them", () => {
    const targets: [JobOptions["ssh"], unknown][] = [
      ["web1", { host: "web1" }],
      ["deploy@web1", { host: "web1", user: "deploy" }],
      ["deploy@web1.example:2222", { host: "web1.example", user: "deploy", port: 2222 }],
      ["web1:22", { host: "web1", port: 22 }],
      ["deploy@[::1]:22", { host: "::1", user: "deploy", port: 22 }],
      ["[2001:db8::1]", { host: "2001:db8::1" }],
      ["2001:db8::1", { host: "2001:db8::1" }],
      ["fe80::1%eth0", { host: "fe80::1%eth0" }],
      ["a@b.example@web1", { host: "web1", user: "a@b.example" }],
      [
        { host: "::1", port: 2222 },
        { host: "::1", port: 2222 },
      ],
    ];
    for (const [ssh, expected] of targets) {
      const [asked] = one({ ...(ssh === undefined ? {} : { ssh }), nice: 5, umask: "022" }).jobs;
      expect(asked).toMatchObject({ nice: 5, umask: 0o022 });
      expect({ ssh, asked: asked?.ssh }).toEqual({ ssh, asked: expected });
      expect(v.is(SshTarget, JSON.parse(JSON.stringify(asked?.ssh)))).toBe(true);
    }
  });

  it("refuses what is no target, and what a command would take for an option", () => {
    for (const ssh of ["", "-oProxyCommand=x", "a@-b", "a@", "@web1", "-a@web1", "a b@web1", "web1/x", "web1:", "[::1"])
      expect(of({ ssh })).toThrow(/^ssh's (host|user|port) must be/);
    for (const ssh of ["web1:0", "web1:65536", "web1:ssh", "[::1]:x"]) expect(of({ ssh })).toThrow(/^ssh's port/);
    expect(of({ ssh: { host: "-web1" } })).toThrow(/ssh's host must be a name or an address, not "-web1"/);
    expect(of({ ssh: { hots: "web1" } })).toThrow(/ssh has no option "hots"; did you mean host\?/);
    expect(of({ ssh: 22 })).toThrow(/ssh must be "HOST", .* not 22/);
  });
});

describe("what a job may use", () => {
  it("is refused where it is none, with what it wants", () => {
    expect(of({ limits: "2g" })).toThrow(/limits must be an object such as \{ memory: "2g" \}/);
    expect(of({ limits: { mem: "2g" } })).toThrow(/limits has no option "mem"; it has memory, cpus, pids/);
    expect(of({ limits: { memroy: "2g" } })).toThrow(/did you mean memory\?/);
    expect(of({ limits: { memory: "lots" } })).toThrow(/limits\.memory must be bytes or a size such as "512m"/);
    expect(of({ limits: { memory: "1m" } })).toThrow(/limits\.memory must be at least 6 MiB/);
    expect(of({ limits: { cpus: 0 } })).toThrow(/limits\.cpus must be a number of cores/);
    expect(of({ limits: { pids: 1.5 } })).toThrow(/limits\.pids must be a whole number/);
    expect(of({ user: "Root user" })).toThrow(/user must be a name, "UID" or "UID:GID", not "Root user"/);
    expect(of({ user: "-u" })).toThrow(/user must be/);
    expect(of({ nice: 20 })).toThrow(/nice must be a whole number from -20 to 19, not 20/);
    for (const umask of ["8", "0o22", "", 0o1000, -1, "1777"]) expect(of({ umask })).toThrow(/umask must be octal/);
    expect([0o27, "027", "0027", "7"].map((umask) => one({ umask }).jobs[0]?.umask)).toEqual([0o27, 0o27, 0o27, 7]);
  });

  it("says what to do instead where two options exclude each other", () => {
    expect(of({ container: "a", ssh: "b" })).toThrow(/a container or ssh, not both: .*start a runner/);
    expect(of({ ssh: "web1", user: "deploy" })).toThrow(/write ssh: "deploy@HOST"/);
    expect(of({ ssh: "web1", limits: {} })).toThrow(/limits cannot stand beside ssh.*start a runner on that host/);
    expect(of({ container: "a", nice: 1 })).toThrow(/nice cannot stand beside container: .*limits\.cpus/);
    expect(of({ container: "a", umask: "022" })).toThrow(/umask cannot stand beside container: begin the command/);
    expect(inContainer({ network: "none", services: { db: "a" } })).toThrow(/network cannot stand beside services/);
    expect(inContainer({ network: "none", services: {} })).not.toThrow();
  });
});

describe("the place of a job", () => {
  it("cannot be changed once the job is made", () => {
    const services: Record<string, { image: string; health: [string, ...string[]] }> = {
      db: { image: "a", health: ["true"] },
    };
    const made = job({ run: sh`true`, container: { image: "a", services } });
    (services["db"] as { image: string }).image = "-x";
    services["db"]?.health.push("x");
    expect(made.options.container).toEqual({ image: "a", services: { db: { image: "a", health: ["true"] } } });
    const { container } = made.options as unknown as { container: { services: typeof services } };
    expect(() => container.services["db"]?.health.push("x")).toThrow(TypeError);
    expect(plan({ made }).jobs[0]?.steps).toEqual([{ shell: "true" }]);
  });

  it("is told with the plan", () => {
    const services = { db: "postgres:17", cache: { image: "redis:7" } };
    const text = renderPlan(
      plan({
        here: job({ run: "true" }),
        contained: job({ run: "true", container: { image: "node:24", services }, user: "node" }),
        remote: job({ run: "true", ssh: "deploy@[::1]:2222" }),
        named: job({ run: "true", ssh: "web1" }),
      }),
    );
    expect(text.split("\n").slice(1, -1)).toEqual([
      ...["here", "  on any runner", "  $ true"],
      ...["contained", "  on any runner"],
      ...["  in the container node:24, as node, beside db (postgres:17), cache (redis:7)", "  $ true"],
      ...["remote", "  on any runner", "  over ssh to deploy@[::1]:2222", "  $ true"],
      ...["named", "  on any runner", "  over ssh to web1", "  $ true"],
    ]);
  });

  it("is part of what tells whether a recipe is still the same, but for the values of variables", () => {
    const services = (env: Record<string, string>, image = "postgres:17") => ({ db: { image, env } });
    const print = (options: Partial<JobOptions>): string => fingerprintOf(one(options));
    const contained = (secret: string) =>
      print({ container: { image: "a", services: services({ PASSWORD: secret }) } });
    expect(contained("one")).toBe(contained("another"));
    const different: Partial<JobOptions>[] = [
      {},
      { container: "a" },
      { container: "b" },
      { container: { image: "a", mounts: { "/a": "/b" } } },
      { container: { image: "a", services: services({}) } },
      { container: { image: "a", services: services({ A: "1" }) } },
      { container: { image: "a", services: services({}, "postgres:16") } },
      { ssh: "web1" },
      { ssh: "deploy@web1" },
      { user: "node" },
      { limits: { cpus: 1 } },
      { nice: 1 },
      { umask: "022" },
    ];
    expect(new Set(different.map(print)).size).toBe(different.length);
  });

  it("has types that refuse what it would refuse", () => {
    expectTypeOf<JobOptions["user"]>().toEqualTypeOf<string | undefined>();
    // @ts-expect-error an image is needed
    expect(() => job({ run: "true", container: { pull: "always" } })).toThrow(/needs an image/);
    // @ts-expect-error there is no such time to pull
    expect(() => job({ run: "true", container: { image: "a", pull: "daily" } })).toThrow(/pull/);
    // @ts-expect-error there is no such option
    expect(() => job({ run: "true", container: { image: "a", volumes: {} } })).toThrow(/no option "volumes"/);
    // @ts-expect-error a list of mounts would not say what is where
    expect(() => job({ run: "true", container: { image: "a", mounts: ["/a"] } })).toThrow(/mounts/);
    // @ts-expect-error a check is a command
    expect(() => job({ run: "true", container: { image: "a", services: { a: { image: "a", health: 1 } } } })).toThrow();
    // @ts-expect-error a host is needed
    expect(() => job({ run: "true", ssh: { user: "deploy" } })).toThrow(/host/);
    // @ts-expect-error cores are a number
    expect(() => job({ run: "true", limits: { cpus: "2" } })).toThrow(/cpus/);
  });
});
