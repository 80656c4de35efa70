import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quote } from "../../../protocol/quote.ts";
import { compile, decide, resolveWant } from "../../../runner/grants/decide.ts";
import type { GrantOptions } from "../../../runner/grants/flags.ts";
import { policyOfFlags } from "../../../runner/grants/flags.ts";
import { findProgram } from "../../../runner/grants/kinds/programs.ts";
import { flagFor, itemsFor, meaningOf } from "../../../runner/grants/needed.ts";
import type { ByKind, Kind } from "../../../runner/grants/policy.ts";
import { describeSection, warningsOf } from "../../../runner/grants/tell.ts";

const folder = mkdtempSync(join(tmpdir(), "sortie-grants-"));
const bin = join(folder, "bin");
const pathBefore = process.env["PATH"];

beforeAll(() => {
  mkdirSync(join(folder, "other"));
  mkdirSync(bin);
  for (const name of ["box", "tool"]) {
    writeFileSync(join(bin, name), "#!/bin/sh\n");
    chmodSync(join(bin, name), 0o755);
  }
  for (const name of ["ls", "sh"]) symlinkSync("box", join(bin, name));
  linkSync(join(bin, "tool"), join(bin, "same"));
  symlinkSync(bin, join(folder, "link"));
  symlinkSync(join(bin, "tool"), join(folder, "other", "ls"));
  process.env["PATH"] = `:.:relative:${bin}`;
});
afterAll(() => {
  process.env["PATH"] = pathBefore;
  rmSync(folder, { recursive: true, force: true });
});

const decided = (kind: Kind, value: string, allow: true | ByKind, deny: ByKind = {}) =>
  decide([compile({ allow, deny }, "flags")], { kind, value, what: "do it" });
const isAllowed = (kind: Kind, value: string, items: string[]): boolean =>
  decided(kind, value, { [kind]: items }).allowed;
const isDenied = (kind: Kind, value: string, items: string[]): boolean =>
  !decided(kind, value, true, { [kind]: items }).allowed;

describe("a decision", () => {
  it("is no where nothing allows it, and where anything denies it, whatever allows it beside", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("A", "B", "C_*", "C_D")),
        fc.array(fc.constantFrom("A", "B", "C_*", "C_D")),
        fc.constantFrom("A", "B", "C_D", "C_E", "X"),
        fc.boolean(),
        (allow, deny, value, all) => {
          const fits = (items: string[]): boolean =>
            items.some((item) => item === value || (item === "C_*" && value.startsWith("C_")));
          const { allowed } = decided("secret", value, all ? true : { secret: allow }, { secret: deny });
          expect(allowed).toBe(!fits(deny) && (all || fits(allow)));
        },
      ),
    );
  });

  it("adds up what several policies allow, and names the rule", () => {
    const sections = [
      compile({ allow: { env: ["A"] }, deny: {} }, "flags"),
      compile({ allow: { env: ["B"] }, deny: { env: ["A"] } }, "peers.laptop"),
    ];
    expect(decide(sections, { kind: "env", value: "B", what: "" })).toEqual({
      allowed: true,
      rule: "peers.laptop: allow env=B",
    });
    expect(decide(sections, { kind: "env", value: "A", what: "" })).toEqual({
      allowed: false,
      rule: "peers.laptop: deny env=A",
    });
    expect(decide(sections, { kind: "env", value: "C", what: "" })).toEqual({ allowed: false, rule: undefined });
  });
});

describe("the grant run", () => {
  it("finds a program by the runner's own PATH, without its empty and its relative entries", () => {
    expect(findProgram("ls")).toBe(join(bin, "ls"));
    expect(findProgram("README.md")).toBeUndefined();
    expect(findProgram(join(folder, "link", "ls"))).toBe(join(bin, "ls"));
    for (const none of ["", ".", "..", "./ls", "bin/ls", `${bin}/`, `${bin}/.`, bin, "nothing", "a\0b", `${bin}/ls/`])
      expect(findProgram(none), none).toBeUndefined();
  });

  it("allows what is found at the same path, and starts that path", () => {
    expect(decided("run", "ls", { run: ["ls"] })).toEqual({
      allowed: true,
      rule: "flags: allow run=ls",
      taken: join(bin, "ls"),
    });
    expect(isAllowed("run", join(folder, "link", "ls"), ["ls"])).toBe(true);
    expect(isAllowed("run", "ls", [join(bin, "ls")])).toBe(true);
    expect(isAllowed("run", "sh", ["ls"])).toBe(false);
    expect(isAllowed("run", "box", ["ls"])).toBe(false);
    expect(isAllowed("run", join(folder, "other", "ls"), ["ls"])).toBe(false);
    expect(isAllowed("run", "nothing", ["nothing"])).toBe(false);
  });

  it("denies a program by its name anywhere, by the file behind it, and by another link to that", () => {
    for (const denied of ["tool", "same", join(folder, "other", "ls"), join(bin, "tool")])
      expect(isDenied("run", denied, ["tool"]), denied).toBe(true);
    expect(isDenied("run", "ls", ["tool"])).toBe(false);
    expect(isDenied("run", "./ls", ["tool"])).toBe(true);
  });

  it("leaves a command as it is where every program may be run", () => {
    expect(decided("run", "ls", true)).not.toHaveProperty("taken");
    expect(decided("run", "./build", { run: true })).toEqual({ allowed: true, rule: "flags: allow run" });
    expect(decided("run", "ls", true, { run: ["tool"] })).toHaveProperty("taken", join(bin, "ls"));
  });

  it("says which grants come to everything, and which to nothing", () => {
    const of = (run: string[] | true) => warningsOf([compile({ allow: { run }, deny: {} }, "flags")]);
    expect(of(["sh"])).toEqual([expect.stringContaining("sh can start any other program")]);
    expect(of(["nothing"])).toEqual([expect.stringContaining("there is no program nothing here")]);
    expect(of(true)).toEqual([expect.stringContaining("everything that this user can run")]);
    expect(of(["ls"])).toEqual(process.getuid?.() === 0 ? [] : [expect.stringContaining("can be replaced")]);
    for (const name of ["git", "python3.12", "/usr/bin/node", "docker"])
      expect(meaningOf({ kind: "run", value: name, what: "" }), name).toContain("can start any other program");
    expect(meaningOf({ kind: "run", value: "ls", what: "" })).toBeUndefined();
  });
});

describe("the grant env", () => {
  it("takes names and PREFIX_*, which never covers what can start code", () => {
    expect(isAllowed("env", "CI", ["CI"])).toBe(true);
    expect(isAllowed("env", "CIA", ["CI"])).toBe(false);
    expect(isAllowed("env", "ci", ["CI"])).toBe(false);
    expect(isAllowed("env", "NODE_ENV", ["NODE_*"])).toBe(true);
    expect(isAllowed("env", "NODE_OPTIONS", ["NODE_*"])).toBe(false);
    expect(isAllowed("env", "NODE_OPTIONS", ["NODE_OPTIONS"])).toBe(true);
    for (const name of [
      "LD_PRELOAD",
      "DYLD_INSERT_LIBRARIES",
      "BASH_ENV",
      "ENV",
      "BASH_FUNC_ls",
      "PATH",
      "Path",
      "IFS",
    ]) {
      expect(decided("env", name, { env: true }).allowed, name).toBe(false);
      expect(isAllowed("env", name, [`${name.slice(0, 1)}*`]), name).toBe(false);
      expect(decided("env", name, true).allowed, name).toBe(true);
    }
    for (const name of [
      "npm_config_script_shell",
      "NPM_CONFIG_SCRIPT_SHELL",
      "PYTHONPATH",
      "GIT_SSH_COMMAND",
      "SSH_ASKPASS",
      "DOCKER_HOST",
    ])
      expect(decided("env", name, { env: true }).allowed, name).toBe(false);
  });

  it("denies in any case of letters", () => {
    expect(isDenied("env", "NPM_CONFIG_X", ["npm_config_*"])).toBe(true);
    expect(isDenied("env", "other", ["npm_config_*"])).toBe(false);
  });
});

describe("the grant cwd", () => {
  it("covers a folder and what is in it, by whole components, where links really lead", () => {
    const inside = join(folder, "bin", "ls");
    expect(isAllowed("cwd", folder, [folder])).toBe(true);
    expect(decided("cwd", join(folder, "link"), { cwd: [folder] })).toMatchObject({ taken: bin });
    expect(isAllowed("cwd", inside, [join(folder, "b")])).toBe(false);
    expect(isAllowed("cwd", `${bin}/../other`, [bin])).toBe(false);
    expect(isAllowed("cwd", join(folder, "link"), [join(folder, "other")])).toBe(false);
    expect(isAllowed("cwd", join(folder, "nothing"), [folder])).toBe(true);
    expect(isAllowed("cwd", join(folder, "link", "nothing"), [join(folder, "other")])).toBe(false);
    expect(isAllowed("cwd", "bin", ["/"])).toBe(false);
    expect(isDenied("cwd", join(folder, "link"), [bin])).toBe(true);
    expect(isDenied("cwd", join(folder, "other"), [bin])).toBe(false);
    expect(isDenied("cwd", join(folder, "link", "nothing"), [bin])).toBe(true);
    expect(isDenied("cwd", "other", [bin])).toBe(true);
  });
});

describe("the grant user", () => {
  it("allows what is written so, and denies whoever may be the same", () => {
    expect(isAllowed("user", "1000", ["1000"])).toBe(true);
    expect(isAllowed("user", "1000:0", ["1000"])).toBe(false);
    for (const root of ["root", "0", "00", "0x0", "0:1000", "root:users", "nobody_knows"])
      expect(isDenied("user", root, ["root"]), root).toBe(true);
    expect(isDenied("user", "65534", ["root"])).toBe(false);
  });
});

describe("items", () => {
  it.each<[Kind, string]>([
    ["run", ""],
    ["run", "./git"],
    ["run", "bin/git"],
    ["run", "git push"],
    ["run", "g*"],
    ["run", "/usr/bin/"],
    ["run", "/usr/bin/*"],
    ["run", "a\0b"],
    ["shell", "x"],
    ["env", "*"],
    ["env", "A-B"],
    ["env", "A=B"],
    ["env", "*_A"],
    ["env", "A_**"],
    ["env", "__proto__*x"],
    ["cwd", "srv"],
    ["cwd", "/srv/*"],
    ["user", "-x"],
    ["secret", "a b"],
  ])("of %s that are none stop the start: %j", (kind, item) => {
    for (const policy of [
      { allow: { [kind]: [item] }, deny: {} },
      { allow: {}, deny: { [kind]: [item] } },
    ])
      expect(() => compile(policy, "flags")).toThrow(expect.objectContaining({ code: "USAGE" }));
  });
});

describe("flags", () => {
  const flags = (options: Partial<GrantOptions>, argv: string[] = []) =>
    policyOfFlags({ "allow-all": false, ...options } as GrantOptions, argv);

  it("add up when they are repeated, and stand for the whole kind without a value", () => {
    expect(flags({ "allow-run": ["git,npm", "npm,make"], "deny-env": "A" })).toEqual({
      allow: { run: ["git", "npm", "make"] },
      deny: { env: ["A"] },
    });
    expect(flags({ "allow-run": ["git", ""] })).toEqual({ allow: { run: true }, deny: {} });
    expect(flags({ "allow-all": true, "deny-run": "rm" })).toEqual({ allow: true, deny: { run: ["rm"] } });
  });

  it("with nothing behind the = are refused, and not taken for everything", () => {
    for (const argv of [["--allow-run="], ["--deny-env="], ["--allow-run", ""]])
      expect(() => flags({}, argv)).toThrow(expect.objectContaining({ code: "USAGE" }));
    expect(() => flags({ "allow-run": "git,,npm" })).toThrow(expect.objectContaining({ code: "USAGE" }));
    expect(() => flags({ "allow-run": "" }, ["--allow-run", "-A", "--", "--allow-run="])).not.toThrow();
  });

  it("that would grant something are safe to be copied into a shell", () => {
    expect(flagFor({ kind: "run", value: "git", what: "" })).toBe("--allow-run=git");
    expect(flagFor({ kind: "run", value: "/opt/$(reboot)", what: "" })).toBe("--allow-run='/opt/$(reboot)'");
    expect(flagFor({ kind: "run", value: "./x", what: "" })).toBe("--allow-run");
    expect(flagFor({ kind: "env", value: "A".repeat(1_000), what: "" })).toBe("--allow-env");
  });

  it.each<[Kind, string]>([
    ["run", "/bin/ls"],
    ["run", "./ls"],
    ["shell", ""],
    ["env", "LD_PRELOAD"],
    ["cwd", "/srv/a*b"],
    ["cwd", "/srv/it's, here "],
    ["user", "0:0"],
    ["image", "localhost:5000/a/b"],
    ["mount", "/srv/data*"],
    ["mount", "/"],
    ["mount", "/srv/x:ro:rw"],
    ["privileged", "cap:SYS_ADMIN"],
    ["network", "host"],
    ["ssh", "deploy@nowhere.invalid:2222"],
    ["secret", "TOKEN"],
  ])("that a denial names allow what was denied: %s of %j", async (kind, value) => {
    const want = { kind, value, what: "" };
    const flag = flagFor(want);
    const items = itemsFor(want);
    if (flag.endsWith("runner.policy.json")) expect(items).not.toBe(true);
    else expect(flag).toBe(items === true ? `--allow-${kind}` : `--allow-${kind}=${quote(items.join(","))}`);
    const sections = [compile({ allow: { [kind]: items }, deny: {} }, "flags")];
    expect(decide(sections, await resolveWant(sections, want))).toMatchObject({ allowed: true });
  });

  it("are told in one line", () => {
    const section = compile(flags({ "allow-run": "ls", "allow-env": "", "deny-run": "sh,box" }), "flags");
    expect(describeSection(section)).toBe("run ls; env (all); but no run sh, box");
    expect(describeSection(compile(flags({}), "flags"))).toBeUndefined();
    expect(describeSection(compile(flags({ "allow-cwd": "/\u001b]0;x" }), "flags"))).toBe("cwd /·]0;x");
  });
});
