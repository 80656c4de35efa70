import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import { Refused } from "../../runner/keeper/backends/backend.ts";
import { isRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import { hostBlock, type Sshd, sshKeygen, startSshd, whyNoSshd } from "../rig/sshd.ts";
import { sshJobs } from "./ssh-jobs.ts";

const why = whyNoSshd();
if (why) console.log(why);

describe.skipIf(why)("a host, as the ssh configuration has it", () => {
  let sshd: Sshd;
  let folder: string;
  beforeAll(async () => {
    sshd = await startSshd();
  });
  afterAll(() => sshd[Symbol.asyncDispose]());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "sortie-ssh-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const configured = (text: string): string => {
    const path = join(folder, "config");
    writeFileSync(path, text);
    return path;
  };
  /** The target, with lines before its own: the first one of a kind counts. */
  const targetWith = (...lines: string[]): string =>
    configured(`Host target\n${lines.map((line) => `  ${line}\n`).join("")}${readFileSync(sshd.config, "utf8")}`);
  /** What opening a job says where it is refused. */
  async function refusalWith(config: string, ssh: { host: string; user?: string; port?: number } = { host: "target" }) {
    await using jobs = sshJobs(config);
    const error = await jobs.open({ ssh }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(Refused);
    expect((error as Refused).refusal.stage).toBe("host");
    return (error as Refused).refusal.message;
  }
  async function whoami(config: string, ssh: { host: string; user?: string; port?: number } = { host: "target" }) {
    await using jobs = sshJobs(config);
    return (await jobs.run({ argv: ["id", "-un"] }, { ssh })).stdout.trim();
  }
  const fingerprintOf = (path: string): string =>
    execFileSync("ssh-keygen", ["-lf", path], { encoding: "utf8" }).split(" ")[1] ?? "";

  it("is reached by its alias, or by an address with a user and a port", async () => {
    expect(await whoami(sshd.config)).toBe(sshd.user);
    const config = configured(
      `Host *\n IdentityFile ${sshd.key}\n UserKnownHostsFile ${sshd.knownHosts}\n GlobalKnownHostsFile none\n`,
    );
    expect(await whoami(config, { host: "127.0.0.1", user: sshd.user, port: sshd.port })).toBe(sshd.user);
  });

  it("is reached through jump hosts, each verified, and the last one seen by the one before it", async () => {
    await using first = await startSshd();
    await using second = await startSshd();
    const config = configured(
      hostBlock("first", { ...first }) +
        hostBlock("second", { ...second }) +
        hostBlock("target", { ...sshd, lines: ["ProxyJump first,second"] }) +
        hostBlock("behind", { ...sshd, lines: ["ProxyJump hop"] }) +
        hostBlock("hop", { ...second, lines: ["ProxyJump first"] }),
    );
    for (const host of ["target", "behind"]) {
      const before = [first, second, sshd].map((each) => each.log().length);
      expect(await whoami(config, { host })).toBe(sshd.user);
      const said = [first, second, sshd].map((each, index) => each.log().slice(before[index]));
      for (const log of said) expect(log).toContain("Accepted publickey");
    }
    writeFileSync(second.knownHosts, "");
    expect(await refusalWith(config)).toMatch(/^the host key of .*@second .* is not known/);
    expect(await refusalWith(config)).toContain("`ssh second true`");
  });

  it("is not reached through itself where `Host *` has the jump", async () => {
    const config = configured(
      `${hostBlock("jump", { ...sshd })}${hostBlock("target", { ...sshd })}Host *\n ProxyJump jump\n`,
    );
    expect(await whoami(config, { host: "jump" })).toBe(sshd.user);
    expect(await whoami(config)).toBe(sshd.user);
  });

  it("is refused where its jump host cannot reach it, where jumps go in a circle, and with a ProxyCommand", async () => {
    await using jump = await startSshd();
    const config = configured(
      hostBlock("jump", { ...jump }) + hostBlock("target", { ...sshd, port: 1, lines: ["ProxyJump jump"] }),
    );
    expect(await refusalWith(config)).toMatch(/could not be reached from jump: .*refused/i);
    const circle = configured("Host a\n ProxyJump b\nHost b\n ProxyJump a\n");
    expect(await refusalWith(circle, { host: "a" })).toContain("jump hosts");
    expect(await refusalWith(targetWith("ProxyCommand nc %h %p"))).toContain("ProxyCommand");
  });

  it("is refused with the reason where nothing listens, no such name is, or the configuration is broken", async () => {
    expect(await refusalWith(targetWith("Port 1"))).toContain("ECONNREFUSED");
    expect(await refusalWith(targetWith("HostName no-such-name.invalid"))).toMatch(/ENOTFOUND|EAI_AGAIN/);
    expect(await refusalWith(configured("Nonsense yes\n"))).toContain("could not be read");
    await using jobs = sshJobs(sshd.config);
    const path = process.env["PATH"];
    process.env["PATH"] = folder;
    try {
      await expect(jobs.open()).rejects.toThrow("there is no ssh client on this runner");
    } finally {
      process.env["PATH"] = path;
    }
    // A refusal is not kept: once the ssh client is there the next job gets through.
    await (await jobs.open()).site.close();
  });

  it("is refused within its ConnectTimeout where nobody answers", async () => {
    const silent = createServer((socket) => socket.on("error", () => {}).resume());
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    expect(await refusalWith(targetWith(`Port ${port}`, "ConnectTimeout 1"))).toContain("did not answer within 1 s");
    await new Promise((resolve) => silent.close(resolve));
  });

  it("is not waited for where nobody answers, when the job is cancelled or the backend closed", async () => {
    const silent = createServer((socket) => socket.on("error", () => {}).resume());
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const configs = [
      targetWith(`Port ${port}`),
      configured(hostBlock("jump", { ...sshd }) + hostBlock("target", { ...sshd, port, lines: ["ProxyJump jump"] })),
    ];
    for (const config of configs) {
      await using jobs = sshJobs(config);
      const cancel = new AbortController();
      const connected = once(silent, "connection") as Promise<[Socket]>;
      const cancelled = jobs.open({}, cancel.signal);
      const left = jobs.open();
      const refused = [expect(cancelled).rejects.toThrow(), expect(left).rejects.toThrow("leaving")];
      const [socket] = await connected;
      const began = performance.now();
      const gone = once(socket, "close");
      cancel.abort();
      await refused[0];
      await jobs.backend.close();
      await Promise.all([refused[1], gone]);
      expect(performance.now() - began).toBeLessThan(limits.sshConnectMs / 2);
    }
    await new Promise((resolve) => silent.close(resolve));
  });

  it("stops waiting when the job is cancelled, while another job goes on waiting", async () => {
    await using jobs = sshJobs(sshd.config);
    const cancel = new AbortController();
    const cancelled = jobs.open({}, cancel.signal);
    const other = jobs.open();
    cancel.abort();
    await expect(cancelled).rejects.toThrow();
    expect((await (await other).run({ argv: ["true"] })).settled).toMatchObject({ code: 0 });
    await (await other).site.close();
  });

  it("is refused when its key is not known, with its fingerprint and a command that accepts it", async () => {
    const knownHosts = join(folder, "known_hosts");
    for (const checking of ["ask", "no", "accept-new"]) {
      writeFileSync(knownHosts, "");
      const config = targetWith(`UserKnownHostsFile ${knownHosts}`, `StrictHostKeyChecking ${checking}`);
      const message = await refusalWith(config);
      expect(message).toContain(fingerprintOf(join(sshd.folder, "host-key.pub")));
      expect(message).toContain("ssh-ed25519");
      expect(readFileSync(knownHosts, "utf8")).toBe("");
      const [, command = ""] = /`([^`]+)`/.exec(message) ?? [];
      expect(command).toBe(`ssh-keyscan -t ed25519 -p ${sshd.port} 127.0.0.1 >> ${knownHosts}`);
      execFileSync("sh", ["-c", command], { stdio: "ignore" });
      expect(await whoami(config)).toBe(sshd.user);
    }
  });

  it("is known by a hashed name, by its alias for keys, without its port, and of several kinds of key by one", async () => {
    await using many = await startSshd({ keys: ["rsa", "ecdsa"] });
    const known = (text: string, ...lines: string[]): string => {
      writeFileSync(join(folder, "known_hosts"), text);
      return configured(
        `Host target\n  UserKnownHostsFile ${join(folder, "known_hosts")}\n${lines.map((line) => `  ${line}\n`).join("")}${readFileSync(many.config, "utf8")}`,
      );
    };
    expect(await whoami(known(`127.0.0.1 ${many.hostKey}\n`))).toBe(many.user);
    expect(await whoami(known(`cluster ${many.hostKey}\n`, "HostKeyAlias cluster"))).toBe(many.user);
    for (const key of many.otherHostKeys)
      expect(await whoami(known(`[127.0.0.1]:${many.port} ${key}\n`))).toBe(many.user);
    const hashed = known(`[127.0.0.1]:${many.port} ${many.hostKey}\n`);
    execFileSync("ssh-keygen", ["-q", "-H", "-f", join(folder, "known_hosts")], { stdio: "ignore" });
    expect(readFileSync(join(folder, "known_hosts"), "utf8")).not.toContain("127.0.0.1");
    expect(await whoami(hashed)).toBe(many.user);
  });

  it("is refused, louder, when its key has changed or is revoked, and with a certificate authority alone", async () => {
    const knownHosts = join(folder, "known_hosts");
    const config = targetWith(`UserKnownHostsFile ${knownHosts}`);
    const name = `[127.0.0.1]:${sshd.port}`;
    writeFileSync(knownHosts, `# mine\n${name} ${sshKeygen(join(folder, "another"))}\n`);
    expect(await refusalWith(config)).toMatch(/^THE HOST KEY OF .* HAS CHANGED/);
    expect(await refusalWith(config)).toContain(`${knownHosts}:2`);
    writeFileSync(knownHosts, `${name} ${sshKeygen(join(folder, "rsa"), "", "rsa")}\n`);
    expect(await refusalWith(config)).toMatch(/^THE HOST KEY OF .* HAS CHANGED/);
    writeFileSync(knownHosts, `${name} ${sshd.hostKey}\n@revoked * ${sshd.hostKey}\n`);
    expect(await refusalWith(config)).toContain(`IS REVOKED by ${knownHosts}:2`);
    writeFileSync(knownHosts, `@cert-authority * ${sshd.hostKey}\n`);
    expect(await refusalWith(config)).toContain("certificate authority");
  });

  it("says which keys it refused, and which could not be offered", async () => {
    const wrong = join(folder, "wrong");
    const locked = join(folder, "locked");
    sshKeygen(wrong);
    sshKeygen(locked, "passphrase");
    const config = configured(
      hostBlock("target", { ...sshd, key: wrong, lines: [`IdentityFile ${locked}`, "IdentityAgent none"] }),
    );
    const message = await refusalWith(config);
    expect(message).toMatch(/refused every key it was offered: /);
    expect(message).toContain(`${wrong} (${fingerprintOf(`${wrong}.pub`)})`);
    expect(message).toContain(`not offered: ${locked} (encrypted, and not in the agent)`);
    const none = configured(hostBlock("target", { ...sshd, key: join(folder, "none"), lines: ["IdentityAgent none"] }));
    expect(await refusalWith(none)).toMatch(/^there is no key for /);
    const nobody = configured(hostBlock("target", { ...sshd, lines: [`IdentityAgent ${join(folder, "no-agent")}`] }));
    expect(await whoami(nobody)).toBe(sshd.user);
  });

  it("gets its keys from an agent, in OpenSSH's order, and only those named where it says so", async () => {
    const socket = join(folder, "agent");
    const agent = /SSH_AGENT_PID=(\d+)/.exec(execFileSync("ssh-agent", ["-a", socket], { encoding: "utf8" }))?.[1];
    try {
      const add = (path: string): void => {
        execFileSync("ssh-add", ["-q", path], { env: { ...process.env, SSH_AUTH_SOCK: socket }, stdio: "ignore" });
      };
      const others = ["one", "two"].map((name) => join(folder, name));
      for (const path of others) {
        sshKeygen(path);
        add(path);
      }
      const refused = configured(
        `Host target\n  IdentitiesOnly no\n${hostBlock("target", { ...sshd, key: join(folder, "none"), lines: [`IdentityAgent ${socket}`] })}`,
      );
      for (const path of others) expect(await refusalWith(refused)).toContain(fingerprintOf(`${path}.pub`));
      const only = configured(
        hostBlock("target", { ...sshd, key: others[1] ?? "", lines: [`IdentityAgent ${socket}`] }),
      );
      const message = await refusalWith(only);
      expect(message).toContain(fingerprintOf(`${others[1]}.pub`));
      expect(message).not.toContain(fingerprintOf(`${others[0]}.pub`));
      // Encrypted on the disk, open in the agent: found by the public half that its file has in clear, and offered first,
      // which counts where the server takes two tries.
      await using strict = await startSshd({ lines: ["MaxAuthTries 2"] });
      const locked = join(folder, "locked");
      execFileSync("cp", [strict.key, locked]);
      add(locked);
      execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", "passphrase", "-f", locked], { stdio: "ignore" });
      const named = `Host target\n  IdentitiesOnly no\n${hostBlock("target", { ...strict, key: locked, lines: [`IdentityAgent ${socket}`] })}`;
      expect(await whoami(configured(named))).toBe(strict.user);
      // With the others before it the server gives up.
      const last = configured(
        `Host target\n  IdentitiesOnly no\n${hostBlock("target", { ...strict, key: join(folder, "none"), lines: [`IdentityAgent ${socket}`] })}`,
      );
      expect(await refusalWith(last)).toContain("would not take as many");
      process.env["SORTIE_TEST_AGENT"] = socket;
      expect(await whoami(configured(named.replace(socket, "$SORTIE_TEST_AGENT")))).toBe(strict.user);
    } finally {
      delete process.env["SORTIE_TEST_AGENT"];
      process.kill(Number(agent));
      // It removes its socket: nobody else may remove the folder meanwhile.
      await until(
        () => isRunning(Number(agent)),
        (is) => !is,
      );
    }
  });

  it("is refused in one sentence where its login shell runs nothing", async () => {
    await using jobs = sshJobs(sshd.config);
    appendFileSync(join(sshd.home, ".bashrc"), "echo This account is closed >&2; exit 1\n");
    try {
      const { settled } = await jobs.run({ argv: ["true"] });
      expect(settled).toMatchObject({
        kind: "failed",
        stage: "host",
        message: expect.stringContaining("This account is closed"),
      });
      expect(jobs.logged).toEqual([]);
    } finally {
      writeFileSync(join(sshd.home, ".bashrc"), "");
    }
  });
});
