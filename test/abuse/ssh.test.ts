// What a paired coordinator asks of a runner that lets it run jobs on some hosts by ssh: with a real server.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect } from "vitest";
import { hostBlock, type Sshd, sshKeygen, startSshd, whyNoSshd } from "../rig/sshd.ts";
import { attack } from "./attack.ts";
import { type Places, places } from "./places.ts";

const why = whyNoSshd();
if (why) console.warn(`left out: attacks on jobs by ssh, because ${why}`);

describe.skipIf(why)("hosts beyond the grant", () => {
  const folder = mkdtempSync(join(tmpdir(), "sortie-abuse-ssh-"));
  const before = process.env["SORTIE_SSH_CONFIG"];
  let sshd: Sshd;
  let at: Places;
  let mine: string;

  beforeAll(async () => {
    sshd = await startSshd();
    mine = `${sshd.user}@target`;
    const config = join(folder, "config");
    const { port, user, key } = sshd;
    const changed = join(folder, "changed");
    writeFileSync(changed, `[127.0.0.1]:${port} ${sshKeygen(join(folder, "another"))}\n`);
    writeFileSync(join(folder, "empty"), "");
    const strange = { port, user, key, knownHosts: join(folder, "empty") };
    writeFileSync(
      config,
      [
        readFileSync(sshd.config, "utf8"),
        hostBlock("stranger", { ...strange, lines: ["StrictHostKeyChecking no"] }),
        hostBlock("changed", { ...strange, knownHosts: changed, lines: ["StrictHostKeyChecking no"] }),
      ].join("\n"),
    );
    process.env["SORTIE_SSH_CONFIG"] = config;
    at = await places(folder);
  }, 60_000);
  afterEach(() => at.goesOn());
  afterAll(async () => {
    await at.close();
    if (before === undefined) delete process.env["SORTIE_SSH_CONFIG"];
    else process.env["SORTIE_SSH_CONFIG"] = before;
    await sshd[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  attack("a host that was not granted", "DENIED, with the flag", async () => {
    at.grant({ ssh: [mine] });
    expect(await at.denied({ ssh: { host: "stranger" } })).toContain("--allow-ssh='*@stranger'");
  });

  attack("the granted host by its address, and as a label of another's domain", "DENIED", async () => {
    at.grant({ ssh: [mine, `${sshd.user}@t*`] });
    for (const host of ["127.0.0.1", "target.evil.example", "evil.example", "TARGET"])
      await at.denied({ ssh: { host, user: sshd.user } });
  });

  attack("another user, said by the job, or by the configuration where the job says none", "DENIED", async () => {
    at.grant({ ssh: [mine] });
    await at.denied({ ssh: { host: "target", user: "somebody-else" } });
    at.grant({ ssh: ["somebody-else@target"] });
    await at.denied({ ssh: { host: "target" } });
  });

  attack("another port than the configuration's", "DENIED", async () => {
    at.grant({ ssh: [mine] });
    await at.denied({ ssh: { host: "target", port: 22 } });
    at.grant({ ssh: [`${mine}:22`] });
    await at.denied({ ssh: { host: "target" } });
  });

  attack("a host that ssh would take for an option", "PROTOCOL: it is no request", async () => {
    at.grant({ ssh: true });
    for (const host of ["-oProxyCommand=touch /tmp/x", "-F/tmp/x", "a b", "root@target", "target;id", "$(id)"])
      expect(await at.malformed({ ssh: { host } }), host).toBe("PROTOCOL");
    expect(await at.malformed({ ssh: { host: "target", user: "-l" } })).toBe("PROTOCOL");
  });

  attack("a key, an option, a jump host or known hosts from the wire", "PROTOCOL: it is no request", async () => {
    at.grant({ ssh: true });
    for (const more of [
      { identityFile: "/etc/passwd" },
      { options: ["ProxyCommand=id"] },
      { jump: "evil" },
      { knownHosts: "x" },
    ])
      expect(await at.malformed({ ssh: { host: "target", ...more } })).toBe("PROTOCOL");
  });

  attack("arguments that a shell there would run", "they arrive as text", async () => {
    at.grant({ ssh: [mine] });
    const argv = ["printf", "%s|", "; rm -rf /", "$(id)", "`id`", "' ; id '", "\n&& id"];
    const { stdout } = await at.run("", { ssh: { host: "target" }, steps: [{ argv }] });
    expect(stdout).toBe("; rm -rf /|$(id)|`id`|' ; id '|\n&& id|");
  });

  attack(
    "a host whose key nobody has compared, though the configuration would take it",
    "failed-to-start, with its fingerprint",
    async () => {
      at.grant({ ssh: [`${sshd.user}@*`] });
      const { exit } = await at.run("id", { ssh: { host: "stranger" } });
      expect(exit).toMatchObject({ reason: "failed-to-start", stage: "host" });
      expect(JSON.stringify(exit)).toMatch(/host key of .*stranger.* is not known: .*SHA256:/);
    },
  );

  attack("a host whose key is another one now", "failed-to-start, louder", async () => {
    at.grant({ ssh: [`${sshd.user}@*`] });
    const { exit } = await at.run("id", { ssh: { host: "changed" } });
    expect(exit).toMatchObject({ reason: "failed-to-start", stage: "host" });
    expect(JSON.stringify(exit)).toContain("HAS CHANGED");
  });

  attack("a host that is denied by its address, asked for by its alias", "DENIED", async () => {
    at.grant({ ssh: true }, { ssh: ["*@127.0.0.1"] });
    expect(await at.denied({ ssh: { host: "target" } })).toContain("told not to let");
  });
});
