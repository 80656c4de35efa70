// What a paired coordinator asks for beyond its grants: of one runner in this process, with real programs and real jobs.
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect } from "vitest";
import type { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { openTrust } from "../../protocol/trust.ts";
import { createAdmission } from "../../runner/admission.ts";
import { compile, decide } from "../../runner/grants/decide.ts";
import { openGrants } from "../../runner/grants/grants.ts";
import type { ByKind } from "../../runner/grants/policy.ts";
import { loadPolicy } from "../../runner/grants/policy-file.ts";
import { withReservedNames } from "../../runner/grants/reserved-names.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner } from "../../runner/runner.ts";
import { Rig } from "../rig/rig.ts";
import { finish, type Read, request, startJob } from "../runner/calls.ts";
import { drive, within } from "../runner/driven-jobs.ts";
import { attack } from "./attack.ts";

const folder = mkdtempSync(join(tmpdir(), "sortie-abuse-grants-"));
const bin = join(folder, "bin");
const evil = join(folder, "evil");
const pathBefore = process.env["PATH"];
const log: string[] = [];
let sections = [compile({ allow: {}, deny: {} }, "flags")];
let runner: Runner;

/** A program that says who it is, and what else it was told. */
const program = (path: string, says: string): void => {
  writeFileSync(path, `#!/bin/sh\necho ${says} "$0" "$@"\n`);
  chmodSync(path, 0o755);
};

function grant(allow: ByKind | true, deny: ByKind = {}): void {
  sections = [compile({ allow, deny }, "flags")];
}

beforeAll(async () => {
  for (const one of [bin, evil, join(folder, "srv"), join(folder, "secret")]) mkdirSync(one);
  program(join(bin, "tool"), "the tool");
  program(join(bin, "box"), "the box");
  program(join(bin, "forbidden"), "forbidden");
  for (const name of ["applet", "other"]) symlinkSync("box", join(bin, name));
  linkSync(join(bin, "forbidden"), join(bin, "innocent"));
  symlinkSync("forbidden", join(bin, "disguised"));
  program(join(evil, "tool"), "evil");
  symlinkSync(join(evil, "tool"), join(evil, "applet"));
  symlinkSync(join(folder, "secret"), join(folder, "srv", "escape"));
  // An entry that is empty, and one that is relative: both would be the job's own directory.
  process.env["PATH"] = `:evil:${bin}:${pathBefore}`;
  const keeper = await embeddedKeeper(join(folder, "keeper"));
  const admission = createAdmission({
    name: "w1",
    sectionsFor: () => sections,
    keeper,
    log: (line) => log.push(line),
  });
  runner = await createRunner({
    ...{ name: "w1", labels: {}, slots: 8, admission, keeper, leaseMs: limits.leaseMs, journals: defaultJournalLimits },
  });
});
afterEach(async () => {
  // Whatever was tried, the runner is there, and does what is granted.
  grant({ run: ["tool"] });
  expect((await ran(["tool", "again"])).stdout).toBe(`the tool ${bin}/tool again\n`);
});
afterAll(async () => {
  await runner.close();
  process.env["PATH"] = pathBefore;
  rmSync(folder, { recursive: true, force: true });
});

const THIEF = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
function writePolicy(content: unknown): string {
  const path = join(mkdtempSync(join(folder, "policy-")), "runner.policy.json");
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content), { mode: 0o600 });
  return path;
}

const wanted = (argv: string[], more: Partial<JobRequest> = {}): JobRequest =>
  request("", { steps: [{ argv }], ...more });
const ran = async (argv: string[], more: Partial<JobRequest> = {}): Promise<Read> =>
  finish(await startJob(runner, wanted(argv, more)));

/** The refusal, as the coordinator is told it: nothing of the policy, and nothing of where things are on the runner. */
async function refused(asked: JobRequest, peer = "test"): Promise<SortieError> {
  const error = await startJob(runner, asked, { peer }).then(
    () => expect.fail("it was let in"),
    (thrown: SortieError) => thrown,
  );
  return error;
}

async function denied(argv: string[], more: Partial<JobRequest> = {}): Promise<SortieError> {
  const error = await refused(wanted(argv, more));
  expect(error.code).toBe("DENIED");
  return error;
}

describe("programs beyond the grant", () => {
  attack("a program that was not granted", "DENIED, with the flag, and nothing of the list", async () => {
    grant({ run: ["tool"], env: ["CI"] });
    const error = await denied(["box"]);
    expect(error.message).toBe('The runner w1 was not told to let this coordinator run "box".');
    expect(error.hint).toContain("--allow-run=box");
    expect(`${error.message} ${error.hint}`).not.toMatch(/tool|CI|\/bin/);
    expect(log.at(-1)).toBe('refused job for test: run "box" (nothing allows it; --allow-run=box would)');
  });

  attack("git, which can start anything", "DENIED, and told that to grant it is to grant everything", async () => {
    grant({ run: ["tool"] });
    expect((await denied(["git", "push"])).hint).toContain("git can start any other program");
  });

  attack("./tool, of the job's own directory", "DENIED", async () => {
    grant({ run: ["tool"], cwd: [evil] });
    await denied(["./tool"], { cwd: evil });
  });

  attack("a relative path that ends in a granted name", "DENIED", async () => {
    grant({ run: ["tool"], cwd: [folder] });
    await denied(["evil/tool"], { cwd: folder });
    await denied(["bin/../evil/tool"], { cwd: folder });
  });

  attack("an absolute path to another program of a granted name", "DENIED", async () => {
    grant({ run: ["tool"] });
    await denied([join(evil, "tool")]);
    await denied([`${bin}/../evil/tool`]);
  });

  attack("a link that is named as a granted program", "DENIED", async () => {
    grant({ run: ["applet"] });
    await denied([join(evil, "applet")]);
  });

  attack("a shell by way of a granted applet's file", "only the name that was granted", async () => {
    grant({ run: ["applet"] });
    expect((await ran(["applet", "x"])).stdout).toBe(`the box ${bin}/applet x\n`);
    await denied(["other"]);
    await denied(["box"]);
  });

  attack("a hard link to a denied program", "DENIED by inode", async () => {
    grant({ run: true }, { run: ["forbidden"] });
    const error = await denied(["innocent"]);
    expect(error.message).toBe('The runner w1 was told not to let this coordinator run "innocent".');
    expect(`${error.message} ${error.hint}`).not.toContain("forbidden");
    expect(log.at(-1)).toContain("flags: deny run=forbidden");
  });

  attack("a denied program by a link of another name, and by its path", "DENIED by its target", async () => {
    grant(true, { run: ["forbidden"] });
    await denied(["disguised"]);
    await denied([join(bin, "forbidden")]);
    await denied(["./forbidden"]);
  });

  attack("PATH in the job's variables, before a granted program", "what was granted is started", async () => {
    grant({ run: ["tool"], env: ["PATH"] });
    const { stdout } = await ran(["tool"], { env: [["PATH", `${evil}:${bin}`]] });
    expect(stdout).toBe(`the tool ${bin}/tool\n`);
  });

  attack("a program of a granted name in the working directory", "what was granted is started", async () => {
    grant({ run: ["tool"], cwd: [folder] });
    const { stdout } = await ran(["tool"], { cwd: evil });
    expect(stdout).toBe(`the tool ${bin}/tool\n`);
    expect((await ran(["tool"], { cwd: folder })).stdout).toBe(`the tool ${bin}/tool\n`);
  });

  attack("a second step beyond the grant behind one within it", "DENIED, and nothing of it was started", async () => {
    grant({ run: ["tool"] });
    const asked = request("", { steps: [{ argv: ["tool"] }, { argv: ["box"] }] });
    expect((await refused(asked)).code).toBe("DENIED");
  });

  attack("a program's name with a NUL, and no program at all", "PROTOCOL, before any grant is looked at", async () => {
    grant({ run: ["tool"] });
    for (const argv of [["tool\0x"], [], [""]]) expect((await refused(wanted(argv))).code).toBe("PROTOCOL");
  });

  attack("an argv that begins with -", "DENIED as any other name", async () => {
    grant({ run: ["tool"] });
    for (const name of ["-c", "--", "-", "--allow-run"]) await denied([name, "tool"]);
  });

  attack("wildcards and lists as a name", "DENIED: a name is a name", async () => {
    grant({ run: ["tool"] });
    for (const name of ["*", "too?", "t*", "tool,box", " tool", "TOOL"]) await denied([name]);
  });

  attack("a megabyte as a program's name", "DENIED, in a short sentence", async () => {
    grant({ run: ["tool"] });
    // The last one would keep a careless pattern busy for hours.
    for (const name of ["x".repeat(500_000), `/${"a/".repeat(250_000)}b`, `${"1".repeat(500_000)}x`]) {
      const error = await denied([name]);
      expect(error.message.length + error.hint.length).toBeLessThan(600);
    }
  });

  attack("a shell command where only programs are granted", "DENIED, and the command is repeated nowhere", async () => {
    grant({ run: true });
    const error = await refused(request("echo hunter2"));
    expect(error).toMatchObject({ code: "DENIED" });
    expect(error.hint).toContain("--allow-shell");
    expect(`${error.message} ${error.hint} ${log.at(-1)}`).not.toContain("hunter2");
  });
});

describe("variables beyond the grant", () => {
  attack("LD_PRELOAD and its kin under a grant of all variables", "DENIED each", async () => {
    grant({ run: ["tool"], env: true });
    for (const name of [
      "LD_PRELOAD",
      "LD_AUDIT",
      "NODE_OPTIONS",
      "BASH_ENV",
      "ENV",
      "PYTHONSTARTUP",
      "PERL5OPT",
      "PATH",
      "GNUMAKEFLAGS",
      "CC",
      "COMPILER_PATH",
      "NODE_REPL_EXTERNAL_MODULE",
    ]) {
      const { message, hint } = await denied(["tool"], { env: [[name, "/evil.so"]] });
      expect(message).toContain(`set the variable ${name}`);
      expect(hint).toContain("can make a permitted program run anything");
      expect(message + hint).not.toContain("evil.so");
    }
    expect((await ran(["tool"], { env: [["HARMLESS", "1"]] })).exit).toMatchObject({ code: 0 });
  });

  attack("a program's settings as a secret's file, by the variable of that name", "DENIED", async () => {
    grant({ run: ["tool"], secret: ["AWS_*"], env: true });
    const secret = (name: string) => ({ as: "file", name, value: "credential_process = /evil" }) as const;
    const { message } = await denied(["tool"], { secrets: [secret("AWS_CONFIG")] });
    expect(message).toContain("set the variable AWS_CONFIG_FILE");
    expect((await ran(["tool"], { secrets: [secret("AWS_KEY")] })).exit).toMatchObject({ code: 0 });
  });

  attack("npm_config_script_shell in other cases of letters", "DENIED each", async () => {
    grant({ run: ["tool"], env: ["npm_*", "NPM_*", "Npm_*"] });
    for (const name of ["npm_config_script_shell", "NPM_CONFIG_SCRIPT_SHELL", "Npm_Config_Script_Shell"])
      await denied(["tool"], { env: [[name, "/bin/sh"]] });
  });

  attack("a function of bash as a variable, and one with = in its name", "PROTOCOL: no such names", async () => {
    grant({ run: ["tool"], env: true });
    for (const name of ["BASH_FUNC_ls%%", "A=B", "A B", "", "1A", "A\0"])
      expect((await refused(wanted(["tool"], { env: [[name, "() { :; }"]] }))).code).toBe("PROTOCOL");
    await denied(["tool"], { env: [["BASH_FUNC_ls", "() { :; }"]] });
  });

  attack("a variable twice, and in another case beside a denied one", "PROTOCOL, and DENIED", async () => {
    grant({ run: ["tool"], env: true }, { env: ["TOKEN"] });
    const twice: JobRequest["env"] = [
      ["A", "1"],
      ["A", "2"],
    ];
    expect((await refused(wanted(["tool"], { env: twice }))).code).toBe("PROTOCOL");
    await denied(["tool"], { env: [["token", "1"]] });
  });

  attack("__proto__ as a variable", "a variable like others: DENIED, and harmless where it is granted", async () => {
    grant({ run: ["tool"] });
    await denied(["tool"], { env: [["__proto__", '{"NODE_OPTIONS":"--require=/evil.js"}']] });
    grant({ run: ["env"], env: ["__proto__"] });
    const { stdout } = await ran(["env"], { env: [["__proto__", "x"]] });
    expect(stdout).not.toContain("NODE_OPTIONS");
  });
});

describe("folders beyond the grant", () => {
  attack("a working directory by a link that leads out of the granted one", "DENIED", async () => {
    grant({ run: ["tool"], cwd: [join(folder, "srv")] });
    await denied(["tool"], { cwd: join(folder, "srv", "escape") });
  });

  attack("a working directory with .. in it, and one that begins like the granted one", "DENIED", async () => {
    grant({ run: ["tool"], cwd: [join(folder, "s")] });
    await denied(["tool"], { cwd: join(folder, "srv") });
    grant({ run: ["tool"], cwd: [join(folder, "srv")] });
    await denied(["tool"], { cwd: `${folder}/srv/../secret` });
    await denied(["tool"], { cwd: `${folder}/srv/./escape/.` });
  });

  attack("a user to run as", "DENIED", async () => {
    grant({ run: ["tool"], user: ["nobody"] });
    for (const user of ["root", "0", "nobody:0", "nobody:root"]) await denied(["tool"], { user });
  });
});

describe("functions beyond the grant", () => {
  attack("a function's job where none of its commands could be", "DENIED before it holds a slot", async () => {
    grant({ image: true });
    expect((await refused(request("", { steps: [], driven: true }))).code).toBe("DENIED");
    expect(runner.info().busy).toBe(0);
  });

  attack("a command of a function beyond the grant", "DENIED, and the function's job goes on", async () => {
    grant({ run: ["tool"] });
    const driven = await drive(runner);
    await denied(["box"], { within: driven.wanted.attemptId });
    await denied(["./tool"], { within: driven.wanted.attemptId });
    await denied(["tool"], { within: driven.wanted.attemptId, env: [["LD_PRELOAD", "x"]] });
    await denied(["tool"], { within: driven.wanted.attemptId, cwd: "../../../../../../../../etc" });
    expect((await refused(within(driven.wanted, "true"))).code).toBe("DENIED");
    const fine = await finish(await startJob(runner, wanted(["tool"], { within: driven.wanted.attemptId, cwd: "." })));
    expect(fine.stdout).toBe(`the tool ${bin}/tool\n`);
    expect((await driven.finish()).exit).toMatchObject({ code: 0 });
  });

  attack("a command in a denied directory below its function's own", "DENIED; beside it, it is not", async () => {
    const srv = join(folder, "srv");
    for (const name of ["denied", "fine"]) mkdirSync(join(srv, name));
    symlinkSync("denied", join(srv, "link"));
    grant({ run: ["tool"], cwd: [srv] }, { cwd: [join(srv, "denied")] });
    const driven = await drive(runner, { cwd: srv });
    for (const cwd of ["denied", "denied/nothing", "link", "fine/../denied"])
      await denied(["tool"], { within: driven.wanted.attemptId, cwd });
    const fine = await finish(
      await startJob(runner, wanted(["tool"], { within: driven.wanted.attemptId, cwd: "fine" })),
    );
    expect(fine.exit).toMatchObject({ code: 0 });
    grant({ run: ["tool"], cwd: [srv] }, { cwd: [srv] });
    await denied(["tool"], { within: driven.wanted.attemptId });
    await driven.finish();
  });

  attack(
    "a command within another peer's job",
    "as of the runner itself: DENIED, and NOT_FOUND where granted",
    async () => {
      grant({ run: ["tool"] });
      const driven = await drive(runner, {}, { peer: "owner" });
      const other = (argv: string[]): JobRequest => wanted(argv, { within: driven.wanted.attemptId });
      expect((await refused(other(["box"]), "thief")).code).toBe("DENIED");
      expect((await refused(other(["tool"]), "thief")).code).toBe("NOT_FOUND");
      await driven.finish();
    },
  );

  attack("a grant that is taken back while a function runs", "its next command is DENIED", async () => {
    grant({ run: ["tool"] });
    const driven = await drive(runner);
    grant({ run: ["box"] });
    await denied(["tool"], { within: driven.wanted.attemptId });
    await driven.finish();
  });

  attack(
    "a container's image, and then a command, said of a job that has none",
    "PROTOCOL: a command has no place",
    async () => {
      grant({ run: ["tool"] });
      const driven = await drive(runner);
      const asked = { ...wanted(["sh"], { within: driven.wanted.attemptId }), ssh: { host: "web1" } };
      expect((await refused(asked)).code).toBe("PROTOCOL");
      await driven.finish();
    },
  );
});

describe("a policy, from the wire", () => {
  attack("fields of a policy in a request", "PROTOCOL: no such fields, and nothing is granted by them", async () => {
    grant({ run: ["tool"] });
    for (const more of [{ allow: { run: true } }, { grants: { all: true } }, { rule: "flags" }, { policy: true }]) {
      const asked = { ...wanted(["box"]), ...more } as JobRequest;
      expect((await refused(asked)).code).toBe("PROTOCOL");
    }
    await denied(["box"]);
  });

  attack("to pair under a name that the policy file speaks of", "another name, and not its grants", () => {
    const path = writePolicy({ peers: { admin: { allow: true } } });
    const grants = openGrants({
      flags: compile({ allow: {}, deny: {} }, "flags"),
      path,
      required: true,
      log: () => {},
    });
    const trust = withReservedNames(openTrust(join(folder, "trust")), grants.names, () => {});
    for (const name of ["admin", "Admin\u0000", "admin "]) {
      const pin = trust.pin(THIEF, name, []);
      expect(grants.sectionsFor(pin).some(({ allow }) => allow === true)).toBe(false);
      trust.remove(THIEF);
    }
    grants.close();
  });
});

describe("a policy file", () => {
  const flags = compile({ allow: {}, deny: {} }, "flags");

  attack("somebody else can write to it, or to its directory", "POLICY_INVALID: it is not read", () => {
    const path = writePolicy({ allow: true });
    for (const [mode, spoilt] of [
      [0o602, path],
      [0o660, path],
      [0o770, join(path, "..")],
    ] as const) {
      chmodSync(spoilt, mode);
      expect(() => loadPolicy(path)).toThrow(expect.objectContaining({ code: "POLICY_INVALID" }));
      chmodSync(spoilt, 0o700);
    }
  });

  attack("it is a link to where somebody else can write, or in such a directory", "POLICY_INVALID", () => {
    const path = writePolicy({ allow: true });
    const links = mkdtempSync(join(folder, "links-"));
    const link = join(links, "runner.policy.json");
    symlinkSync(path, link);
    for (const spoilt of [join(path, ".."), links]) {
      chmodSync(spoilt, 0o777);
      expect(() => loadPolicy(link)).toThrow(expect.objectContaining({ code: "POLICY_INVALID" }));
      chmodSync(spoilt, 0o700);
    }
    expect(loadPolicy(link).common.allow).toBe(true);
  });

  attack("it is spoilt, or taken away, while the runner runs", "what it denied stays denied", () => {
    const path = writePolicy({ allow: { run: true }, deny: { run: ["tool"] } });
    const grants = openGrants({ flags, path, required: true, log: () => {} });
    const want = { kind: "run", value: "tool", what: "run it" } as const;
    const rules = (): unknown => decide(grants.sectionsFor({ peer: THIEF, name: "thief" }), want);
    const before = rules();
    expect(before).toEqual({ allowed: false, rule: "policy: deny run=tool" });
    for (const spoil of [
      () => writeFileSync(path, '{"allow":true'),
      () => chmodSync(path, 0o666),
      () => rmSync(path),
    ]) {
      spoil();
      expect(rules()).toEqual(before);
    }
    grants.close();
  });

  attack("kinds, wildcards and names that there are not", "POLICY_INVALID: no guess is made", () => {
    for (const content of [
      { allow: { everything: true } },
      { allow: { run: ["*"] } },
      { allow: { run: ["/usr/bin/*"] } },
      { allow: { env: ["*"] } },
      { allow: { cwd: ["/srv/**"] } },
      { deny: { shell: ["rm"] } },
      { deny: true },
      '{"deny":{"__proto__":{"run":true}}}',
      // The second would undo the first.
      '{"allow":true,"deny":{"run":["sudo"]},"deny":{}}',
    ])
      expect(() => loadPolicy(writePolicy(content)), JSON.stringify(content)).toThrow(
        expect.objectContaining({ code: "POLICY_INVALID" }),
      );
  });
});

describe("a real runner", () => {
  attack("LD_PRELOAD, ./ls and another program, by exec", "DENIED, with the flag, as a person sees it", async () => {
    await using rig = new Rig();
    const real = await rig.pairedRunner("w1", ["--allow-run=echo,ls", "--allow-env", "--slots", "2"]);
    const exec = (...args: string[]) => rig.coordinator(["exec", "w1", "--stdin=false", ...args]);
    const [preload, relative, other] = await Promise.all([
      exec("-e", "LD_PRELOAD=/evil.so", "--", "echo"),
      exec("--", "./ls"),
      exec("--", "cat", "/etc/passwd"),
    ]);
    for (const { code } of [preload, relative, other]) expect(code).toBe(125);
    expect(preload.stderr).toMatch(
      /error\[DENIED\].*set the variable LD_PRELOAD[\s\S]*--allow-env=LD_PRELOAD.*anything/,
    );
    expect(relative.stderr).toMatch(/error\[DENIED\].*run "\.\/ls"/);
    expect(other.stderr).toMatch(/error\[DENIED\].*run "cat"[\s\S]*--allow-run=cat/);
    expect(`${preload.stderr}${relative.stderr}${other.stderr}`).not.toMatch(/echo|\/bin/);
    expect((await exec("--", "echo", "still")).text).toBe("still\n");
    expect(real.child.exitCode).toBeNull();
  });
});
