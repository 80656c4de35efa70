// Grants of where a job runs: what their items match, as values; no engine and no host is asked.
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { confinementOf } from "../../../runner/grants/confine.ts";
import { compile, decide, resolveWant } from "../../../runner/grants/decide.ts";
import { inFull, parseImageName } from "../../../runner/grants/kinds/image-name.ts";
import { fitsSegment } from "../../../runner/grants/kinds/wildcard.ts";
import type { ByKind, Kind } from "../../../runner/grants/policy.ts";
import { requestOf } from "../containers.ts";

let folder: string;
const before = process.env["SORTIE_SSH_CONFIG"];
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "sortie-places-")));
  const config = join(folder, "ssh_config");
  writeFileSync(
    config,
    "Host db web1\n HostName 10.0.0.5\n User deploy\n Port 2222\nHost web2\n User root\nHost unclear\n ProxyCommand nc %h %p\n",
  );
  process.env["SORTIE_SSH_CONFIG"] = config;
});
afterAll(() => {
  if (before === undefined) delete process.env["SORTIE_SSH_CONFIG"];
  else process.env["SORTIE_SSH_CONFIG"] = before;
  rmSync(folder, { recursive: true });
});

async function allows(kind: Kind, value: string, allow: true | ByKind, deny: ByKind = {}): Promise<boolean> {
  const sections = [compile({ allow, deny }, "flags")];
  return decide(sections, await resolveWant(sections, { kind, value, what: "" })).allowed;
}
/** Which of the values items of the kind allow, and deny. */
const judged = async (kind: Kind, items: string[], values: string[], verb: "allow" | "deny" = "allow") => {
  const verdicts = await Promise.all(
    values.map((value) =>
      verb === "allow"
        ? allows(kind, value, { [kind]: items })
        : allows(kind, value, { [kind]: true }, { [kind]: items }),
    ),
  );
  return values.filter((_, at) => verdicts[at]);
};
const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;

describe("an image's name", () => {
  it.each([
    ["alpine", "docker.io/library/alpine:latest"],
    ["alpine:3", "docker.io/library/alpine:3"],
    ["library/alpine", "docker.io/library/alpine:latest"],
    ["docker.io/alpine", "docker.io/library/alpine:latest"],
    ["index.docker.io/library/alpine:3", "docker.io/library/alpine:3"],
    ["evil/alpine", "docker.io/evil/alpine:latest"],
    ["evil.com/library/alpine", "evil.com/library/alpine:latest"],
    ["localhost/a", "localhost/a:latest"],
    ["localhost:5000/a/b:T", "localhost:5000/a/b:T"],
    ["ghcr.io/acme/app:1@" + DIGEST, `ghcr.io/acme/app@${DIGEST}`],
    ["deadbeef", "docker.io/library/deadbeef:latest"],
  ])("%s is %s", (text, full) => {
    const name = parseImageName(text);
    expect(name && inFull(name)).toBe(full);
  });

  it.each([
    ["upper case in the repository", "Alpine"],
    ["upper case in the host", "GHCR.io/acme/app"],
    ["an image's id", DIGEST],
    ["the beginning of an id", "sha256:0123"],
    ["an id without its algorithm", "0123456789abcdef".repeat(4)],
    ["two digests", `a@${DIGEST}@${DIGEST}`],
    ["an empty part", "ghcr.io//app"],
    ["a parent", "ghcr.io/acme/../evil"],
    ["a wildcard", "alp*ne"],
    ["an empty tag", "alpine:"],
  ])("is none with %s", (_, text) => {
    expect(parseImageName(text)).toBeUndefined();
  });
});

describe("the grant image", () => {
  const values = [
    "alpine",
    "alpine:3",
    "alpine:EDGE",
    "docker.io/library/alpine:3",
    `alpine@${DIGEST}`,
    `alpine:3@${DIGEST}`,
    "evil/alpine:3",
    "evil.com/library/alpine:3",
    "ghcr.io/acme/app:1",
    `ghcr.io/acme/app@${DIGEST}`,
    "ghcr.io/acme/team/app:1",
    DIGEST,
  ];
  it.each([
    ["alpine", ["alpine"]],
    ["alpine:*", ["alpine", "alpine:3", "alpine:EDGE", "docker.io/library/alpine:3"]],
    ["alpine:edge", []],
    ["alpine@sha256:*", [`alpine@${DIGEST}`, `alpine:3@${DIGEST}`]],
    [`alpine@${DIGEST}`, [`alpine@${DIGEST}`, `alpine:3@${DIGEST}`]],
    ["ghcr.io/acme/*:*", ["ghcr.io/acme/app:1"]],
    ["ghcr.io/acme/**", ["ghcr.io/acme/app:1", `ghcr.io/acme/app@${DIGEST}`, "ghcr.io/acme/team/app:1"]],
    ["ghcr.io/**", ["ghcr.io/acme/app:1", `ghcr.io/acme/app@${DIGEST}`, "ghcr.io/acme/team/app:1"]],
    ["*/alpine:*", ["alpine", "alpine:3", "alpine:EDGE", "docker.io/library/alpine:3", "evil/alpine:3"]],
    ["**", values.slice(0, -1)],
  ])("%s", async (item, allowed) => {
    expect(await judged("image", [item], values)).toEqual(allowed);
  });

  it("as a whole covers what has a name, and all but what is denied", async () => {
    expect(
      await judged("image", ["evil/*"], ["alpine", "evil/alpine:3", `evil/alpine@${DIGEST}`, DIGEST], "deny"),
    ).toEqual(["alpine"]);
    // What a tag was is not known of a digest.
    expect(await judged("image", ["alpine:3"], ["alpine:4", "alpine:3", `alpine@${DIGEST}`], "deny")).toEqual([
      "alpine:4",
    ]);
    expect(await allows("image", DIGEST, { image: true })).toBe(false);
    expect(await allows("image", DIGEST, true)).toBe(true);
    expect(await allows("image", DIGEST, true, { image: ["evil/*"] })).toBe(false);
  });

  it.each(["Alpine", "ghcr.io/**/app", "a b", "^alpine$", "-v/:/host", ""])("has no item %j", (item) => {
    expect(() => compile({ allow: { image: [item] }, deny: {} }, "flags")).toThrowError(/granted or denied by image/);
  });
});

describe("the grant mount", () => {
  it("covers what is below a real path, and only to read where it says so", async () => {
    mkdirSync(join(folder, "data/sub"), { recursive: true });
    mkdirSync(join(folder, "database"));
    symlinkSync("/etc", join(folder, "data/link"));
    symlinkSync(join(folder, "data"), join(folder, "other"));
    const data = join(folder, "data");
    const values = [
      data,
      `${data}/sub`,
      `${data}/sub:ro`,
      `${folder}/other/sub`,
      `${data}/link`,
      `${data}/../database`,
    ];
    expect(await judged("mount", [data], values)).toEqual(values.slice(0, 4));
    expect(await judged("mount", [`${folder}/other:ro`], values)).toEqual([`${data}/sub:ro`]);
    // Of a directory that is to be read, one is not mounted to be written by its name.
    mkdirSync(join(folder, "data:ro"));
    expect(await judged("mount", [`${data}:ro`], [`${data}:ro:rw`])).toEqual([]);
    expect(await judged("mount", [`${data}/sub`], [folder, `${data}/sub/none`, `${folder}/database`], "deny")).toEqual([
      `${folder}/database`,
    ]);
  });

  it("gives what is as good as the machine to nothing but exactly that path", async () => {
    const home = process.env["SORTIE_HOME"];
    process.env["SORTIE_HOME"] = join(folder, "home/sortie");
    mkdirSync(join(folder, "home/sortie/runner"), { recursive: true });
    const socket = createServer();
    mkdirSync(join(folder, "sockets"));
    await new Promise<void>((resolve) => socket.listen(join(folder, "sockets/one"), resolve));
    try {
      const values = [
        "/",
        "/proc",
        "/proc/1/root",
        "/dev/sda",
        "/sys",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run",
        "/var/run/podman/podman.sock",
      ];
      const own = [folder, `${folder}/home`, `${folder}/home/sortie/runner`, `${folder}/sockets/one`];
      expect(await judged("mount", ["/", "/run/podman"], [...values, ...own])).toEqual(["/"]);
      for (const value of [...values, ...own]) expect(await allows("mount", value, { mount: true }), value).toBe(false);
      expect(await judged("mount", ["/var/run/docker.sock"], values)).toEqual([
        "/run/docker.sock",
        "/var/run/docker.sock",
      ]);
      expect(await judged("mount", [`${folder}/sockets`], [`${folder}/sockets`, `${folder}/sockets/one`])).toEqual([
        `${folder}/sockets`,
      ]);
    } finally {
      if (home === undefined) delete process.env["SORTIE_HOME"];
      else process.env["SORTIE_HOME"] = home;
      await new Promise((resolve) => socket.close(resolve));
    }
  });

  it.each(["data", "/data/*", "volume:cache", ""])("has no item %j", (item) => {
    expect(() => compile({ allow: { mount: [item] }, deny: {} }, "flags")).toThrowError(/granted or denied by mount/);
  });
});

describe("the grants privileged and network", () => {
  it("cover what they name, and deny what has it inside", async () => {
    const values = ["privileged", "new-privileges", "gpus", "limits", "cap:NET_ADMIN", "cap:ALL"];
    expect(await judged("privileged", ["cap:NET_ADMIN"], values)).toEqual(["cap:NET_ADMIN"]);
    expect(await judged("privileged", ["cap:CAP_NET_ADMIN"], values)).toEqual(["cap:NET_ADMIN"]);
    expect(await judged("privileged", ["cap:ALL"], values)).toEqual(["cap:NET_ADMIN", "cap:ALL"]);
    expect(await judged("privileged", ["privileged"], values)).toEqual(["privileged"]);
    expect(await judged("privileged", ["cap:NET_ADMIN"], values, "deny")).toEqual(["new-privileges", "gpus", "limits"]);
    expect(await judged("network", ["ci"], ["bridge", "host", "ci", "CI"])).toEqual(["ci"]);
    // The beginning of an id may be that of any network.
    expect(await judged("network", ["prod"], ["ci", "prod", "0a1b"], "deny")).toEqual(["ci"]);
  });

  it.each(["device:/dev/kvm", "host-ipc", "cap:net_admin", "root"])("has no item privileged=%j", (item) => {
    expect(() => compile({ allow: { privileged: [item] }, deny: {} }, "flags")).toThrowError(/granted or denied by/);
  });
  it.each(["container:abc", "a b", ""])("has no item network=%j", (item) => {
    expect(() => compile({ allow: { network: [item] }, deny: {} }, "flags")).toThrowError(/granted or denied by/);
  });
});

describe("the grant ssh", () => {
  it("compares the host as it is named, and the user and the port that it comes to", async () => {
    const values = [
      "web1",
      "deploy@web1",
      "root@web1",
      "web2",
      "deploy@web1:2222",
      "deploy@web1:22",
      "deploy@web1.evil.com",
      "deploy@10.0.0.5",
      "deploy@web1.",
    ];
    expect(await judged("ssh", ["deploy@web*"], values)).toEqual(["web1", "deploy@web1", "deploy@web1:2222"]);
    expect(await judged("ssh", ["deploy@web1:22"], values)).toEqual(["deploy@web1:22"]);
    expect(await judged("ssh", ["*@web2"], values)).toEqual(["web2"]);
    expect(await judged("ssh", ["deploy@*:*"], values)).toEqual([
      "web1",
      "deploy@web1",
      "deploy@web1:2222",
      "deploy@web1:22",
    ]);
  });

  it("denies a host by its alias and by its address, however it is written", async () => {
    const values = ["db", "web1:22", "deploy@10.0.0.5", "DB", "db.", "web2"];
    expect(await judged("ssh", ["*@10.0.0.5"], values, "deny")).toEqual(["DB", "db.", "web2"]);
    expect(await judged("ssh", ["*@db", "*@10.0.0.5"], values, "deny")).toEqual(["web2"]);
  });

  it("denies a host of which nobody can tell where it is, where any is denied", async () => {
    expect(await judged("ssh", ["me@unclear"], ["me@unclear"])).toEqual(["me@unclear"]);
    expect(await judged("ssh", ["*@10.0.0.5"], ["me@unclear"], "deny")).toEqual([]);
  });

  it("takes an address with colons in brackets", async () => {
    expect(await judged("ssh", ["me@[fe80::1]:22"], ["me@[fe80::1]:22", "me@[fe80::1]", "me@[fe80::1]:23"])).toEqual([
      "me@[fe80::1]:22",
      "me@[fe80::1]",
    ]);
  });

  it.each(["web1", "deploy@", "deploy@-oProxyCommand=x", "-l@web1", "deploy@web1:ssh", "deploy@**"])(
    "has no item %j",
    (item) => {
      expect(() => compile({ allow: { ssh: [item] }, deny: {} }, "flags")).toThrowError(/granted or denied by ssh/);
    },
  );
});

describe("what containers are held to", () => {
  const container = requestOf();
  const held = (allow: true | ByKind, deny: ByKind = {}, request = container) =>
    confinementOf([compile({ allow, deny }, "flags")], request);
  const all = {
    capabilities: [],
    network: "none",
    user: "not-root",
    limits: { memory: 4 * 1024 ** 3, cpus: 4, pids: 1024 },
    mounts: "real",
  };

  it("is everything, as far as it is not granted", () => {
    expect(held({ image: true })).toEqual(all);
    const { limits: _, ...less } = all;
    expect(held({ privileged: ["limits", "cap:CHOWN"] })).toEqual({ ...less, capabilities: ["CHOWN"] });
    expect(held({ network: ["bridge"] })).toEqual({ ...all, network: undefined });
    expect(held({ network: ["ci"], user: ["1000"] })).toEqual(all);
    expect(held({ user: ["0"] })).toEqual({ ...all, user: undefined });
    expect(held({ privileged: true, network: true, user: true })).toEqual({ mounts: "real" });
  });

  it("is nothing where everything is allowed, and what is denied where that is all", () => {
    expect(held(true)).toBeUndefined();
    expect(held(true, { run: ["curl"] })).toEqual({ mounts: "real" });
    expect(held(true, { network: true, user: ["root"] })).toEqual({
      mounts: "real",
      network: "none",
      user: "not-root",
    });
    expect(held(true, { privileged: ["cap:NET_RAW"] })?.capabilities).toHaveLength(13);
    const { container: __, ...local } = container;
    expect(held({}, {}, local)).toBeUndefined();
  });
});

it("a * stands for anything within a segment, found in a time that does not grow with it", () => {
  expect(["web", "web1", "xweb", "we"].filter((one) => fitsSegment("web*", one))).toEqual(["web", "web1"]);
  expect(["aXbYc", "abc", "acb", "ab"].filter((one) => fitsSegment("a*b*c", one))).toEqual(["aXbYc", "abc"]);
  expect(fitsSegment("ab*ba", "aba")).toBe(false);
  const began = performance.now();
  expect(fitsSegment("*a".repeat(1_000), `${"a".repeat(100_000)}b`)).toBe(false);
  expect(performance.now() - began).toBeLessThan(20_000);
});
