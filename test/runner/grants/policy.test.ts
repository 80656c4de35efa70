import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";

import { openTrust } from "../../../protocol/trust.ts";
import { type AskOptions, createAsk, type Question } from "../../../runner/grants/ask.ts";
import { auditOnly } from "../../../runner/grants/audit-only.ts";
import { compile, type Decision, decide } from "../../../runner/grants/decide.ts";
import { openGrants } from "../../../runner/grants/grants.ts";
import { kinds, type Want } from "../../../runner/grants/policy.ts";
import { loadPolicy, PolicyFile, type PolicyPeer, sectionsOf } from "../../../runner/grants/policy-file.ts";
import { policySchema } from "../../../runner/grants/policy-schema.ts";
import { withReservedNames } from "../../../runner/grants/reserved-names.ts";
import { holdUp, typed } from "../../rig/typed.ts";

const LAPTOP = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";
const OTHER = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
const nothing = compile({ allow: {}, deny: {} }, "flags");
const env = (value: string): Want => ({ kind: "env", value, what: `set the variable ${value}` });

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "sortie-policy-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
function policyFile(content: unknown, path = join(folder(), "runner.policy.json")): string {
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content), { mode: 0o600 });
  return path;
}
const wrong = (why: RegExp) =>
  expect.objectContaining({ code: "POLICY_INVALID", message: expect.stringMatching(why) as string });

describe("a policy file", () => {
  it("gives a peer what all have, what its groups have and its own; what any of them denies is denied", () => {
    const policy = loadPolicy(
      policyFile({
        allow: { env: ["ALL"] },
        peers: { laptop: { allow: { env: ["NAMED"] } }, [LAPTOP]: { allow: { env: ["BY_ID"] } } },
        groups: {
          ci: { members: ["laptop"], allow: { env: ["GROUP"] }, deny: { env: ["NAMED"] } },
          invited: { allow: { env: ["INVITED"] } },
          others: { members: ["desk"], allow: true },
        },
      }),
    );
    const had = (peer: PolicyPeer): string[] =>
      ["ALL", "NAMED", "BY_ID", "GROUP", "INVITED"].filter(
        (name) => decide(sectionsOf(policy, peer), env(name)).allowed,
      );
    expect(had({ peer: LAPTOP, name: "laptop" })).toEqual(["ALL", "BY_ID", "GROUP"]);
    expect(had({ peer: OTHER, name: "stranger" })).toEqual(["ALL"]);
    expect(had({ peer: OTHER, name: "stranger", formerly: [LAPTOP] })).toEqual(["ALL", "BY_ID"]);
    expect(had({ peer: OTHER, name: "stranger", group: "invited" })).toEqual(["ALL", "INVITED"]);
    expect(had({ peer: OTHER, name: "desk" })).toEqual(["ALL", "NAMED", "BY_ID", "GROUP", "INVITED"]);
    expect(decide(sectionsOf(policy, { peer: LAPTOP, name: "laptop" }), env("NAMED"))).toEqual({
      allowed: false,
      rule: "policy groups.ci: deny env=NAMED",
    });
  });

  it.each<[string, unknown, RegExp]>([
    ["is no JSON", "{", /no JSON/],
    ["has a kind that there is not", { allow: { walk: true } }, /: allow\.walk: /],
    ["has a bad item", { peers: { laptop: { deny: { run: ["./git"] } } } }, /policy peers\.laptop: "\.\/git"/],
    ["has a word of its own", { allows: {} }, /allows/],
    ["allows a kind by a word", { allow: { run: "git" } }, /: allow\.run: true, or a list/],
    ["denies everything by true", { deny: true }, /deny/],
    ["has a name that is none", { peers: { "a b": {} } }, /name or peer ID/],
    ["hides what it denies behind __proto__", '{"deny":{"__proto__":{"run":true}}}', /__proto__/],
    ["hides a peer as constructor", '{"peers":{"constructor":{"deny":{"run":true}}}}', /constructor/],
    ["is too long", `{"allow":{}}${" ".repeat(1024 * 1024)}`, /longer than/],
  ])("that %s is refused whole", (_why, content, message) => {
    expect(() => loadPolicy(policyFile(content))).toThrow(wrong(message));
  });

  it("is refused where others can write to it, or to its folder, and where it is none", () => {
    const path = policyFile({ allow: {} });
    chmodSync(path, 0o620);
    expect(() => loadPolicy(path)).toThrow(wrong(/written to by others.*mode 620/));
    chmodSync(path, 0o644);
    loadPolicy(path);
    chmodSync(join(path, ".."), 0o777);
    expect(() => loadPolicy(path)).toThrow(wrong(/mode 777/));
    chmodSync(join(path, ".."), 0o700);
    mkdirSync(`${path}.d`);
    expect(() => loadPolicy(`${path}.d`)).toThrow(wrong(/no file/));
    expect(() => loadPolicy(`${path}.none`)).toThrow(wrong(/ENOENT/));
  });

  it("is in the documentation as it can be written, with every kind", () => {
    const page = readFileSync(join(import.meta.dirname, "../../../docs/grants.md"), "utf8");
    const [, json = ""] = /```json\n([\s\S]*?)```/.exec(page) ?? [];
    expect(loadPolicy(policyFile(json)).peers.has("laptop")).toBe(true);
    const listed = [...page.matchAll(/^\| `([a-z]+)` \|/gm)].map(([, kind]) => kind);
    expect(listed.sort()).toEqual([...kinds].sort());
  });

  it("has a JSON Schema of the same words", () => {
    expect(Object.keys(policySchema.properties).sort()).toEqual(Object.keys(PolicyFile.entries).sort());
    expect(Object.keys(policySchema.$defs.byKind.properties)).toEqual([...kinds]);
    const group = policySchema.properties.groups.additionalProperties.properties;
    expect(Object.keys(group).sort()).toEqual(Object.keys(PolicyFile.entries.groups.wrapped.value.entries).sort());
  });
});

describe("grants of a runner", () => {
  const laptop = { peer: LAPTOP, name: "laptop" };
  function open(path: string, required = false) {
    const log: string[] = [];
    const grants = openGrants({ flags: nothing, path, required, log: (line) => log.push(line) });
    onTestFinished(grants.close);
    const allows = (name: string): boolean => decide(grants.sectionsFor(laptop), env(name)).allowed;
    return { grants, log, allows };
  }

  it("hold for the next job once the file says so", () => {
    const path = policyFile({ allow: { env: ["A"] } });
    const { allows } = open(path);
    expect(allows("A")).toBe(true);
    policyFile({ allow: { env: ["B"] } }, path);
    expect([allows("A"), allows("B")]).toEqual([false, true]);
    policyFile({ allow: { env: ["B"] }, deny: { env: true } }, path);
    expect(allows("B")).toBe(false);
  });

  it("stay what they were where the file breaks, is opened to others, or goes; and say so once", () => {
    const path = policyFile({ allow: { env: ["A"] }, deny: { env: ["B"] } });
    const { allows, log } = open(path);
    for (const spoil of [
      () => policyFile('{"allow": true', path),
      () => {
        policyFile({ allow: true }, path);
        chmodSync(path, 0o666);
      },
      () => rmSync(path),
    ]) {
      spoil();
      log.length = 0;
      expect([allows("A"), allows("B"), allows("C")]).toEqual([true, false, false]);
      expect(log.filter((line) => line.includes("What was read before stays in force"))).toHaveLength(1);
    }
  });

  it("may come with a file later, unless one was named", () => {
    const path = join(folder(), "runner.policy.json");
    const { allows } = open(path);
    expect(allows("A")).toBe(false);
    policyFile({ allow: { env: ["A"] } }, path);
    expect(allows("A")).toBe(true);
    expect(() => open(`${path}.none`, true)).toThrow(wrong(/ENOENT/));
  });

  it("are added to for one peer, and to a file that is for this user alone", () => {
    const path = join(folder(), "runner.policy.json");
    const { grants, allows } = open(path);
    grants.allowAlways(LAPTOP, env("A"));
    grants.allowAlways(LAPTOP, { kind: "shell", value: "", what: "run a shell command" });
    expect(loadPolicy(path).peers.get(LAPTOP)?.allow).toMatchObject({ env: [{ text: "A" }], shell: true });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(allows("A")).toBe(true);
    expect(decide(grants.sectionsFor({ peer: OTHER, name: "other" }), env("A")).allowed).toBe(false);
  });

  it("of a name are not for whoever calls itself so", () => {
    const { grants } = open(policyFile({ peers: { laptop: { allow: true }, "desk-2": { allow: true } } }));
    const trust = withReservedNames(openTrust(folder()), grants.names, () => {});
    expect(trust.pin(OTHER, "laptop", []).name).toBe(`new-${OTHER.slice(-8)}`);
    trust.rename(OTHER, "laptop");
    expect(trust.pin(OTHER, "laptop", []).name).toBe("laptop");
    // One that would be given a number behind its name.
    expect(trust.pin(LAPTOP, "desk", []).name).toBe(`new-${LAPTOP.slice(-8)}`);
  });
});

describe("a question in a terminal", () => {
  function asker(options: Partial<AskOptions> = {}) {
    const input = new PassThrough();
    const output = new PassThrough();
    let shown = "";
    output.on("data", (bytes: Buffer) => {
      shown += bytes.toString();
    });
    const always: Want[] = [];
    const ask = createAsk({
      input,
      output,
      path: "FILE",
      allowAlways: (_peer, want) => void always.push(want),
      ...options,
    });
    const question = (
      value: string,
      decided: () => Decision = () => ({ allowed: false, rule: undefined }),
      left: AbortSignal = new AbortController().signal,
    ): Question => ({
      want: env(value),
      caller: { peer: LAPTOP, name: "laptop" },
      job: "build",
      decided,
      left,
    });
    /** Types the line once the question has been there long enough to be read. */
    const answer = async (text: string, times = 1): Promise<void> => {
      await expect.poll(() => shown.split("›").length - 1).toBe(times);
      // Its time begins some turns of the loop after it is shown, each of which may take long on a busy machine.
      for (let turns = 0; turns < 20; turns++) await turn();
      await new Promise((resolve) => setTimeout(resolve, 320));
      input.write(`${text}\n`);
    };
    return { ask, question, answer, input, output, shown: () => shown, always };
  }

  it("shows who asks for what, and is answered for once, for ever, or with no", async () => {
    const { ask, question, answer, shown, always } = asker();
    const first = ask(question("EVIL\u001b]0;x\u0007\u202e"));
    await answer("o");
    expect(await first).toBe("asked: once");
    expect(shown()).toContain(`laptop (${LAPTOP}) wants to set the variable EVIL·]0;x··, for the job build.`);
    const second = ask(question("A"));
    await answer("always", 2);
    expect(await second).toBe("asked: always");
    expect(always).toEqual([env("A")]);
    expect(shown()).toContain("[a]lways (--allow-env=A, into FILE)");
    const long = `B${"x".repeat(200)}`;
    const third = ask(question(long));
    await answer("d", 3);
    expect(await third).toBeUndefined();
    // Nothing less than all of them could be written down for it.
    expect(shown()).toContain("[a]lways (--allow-env, into FILE)");
    // Denied for as long as the runner runs: not asked again.
    expect(await ask(question(long))).toBeUndefined();
    expect(shown().split("›")).toHaveLength(4);
  });

  it("is not answered by what was typed before it, nor by anything else", async () => {
    const { ask, question, answer, input, shown } = asker();
    input.write("o\n");
    const asked = ask(question("A"));
    await answer("yes please");
    await answer("d", 2);
    expect(await asked).toBeUndefined();
    expect(shown().split("›")).toHaveLength(3);
  });

  it("is not answered by what was typed before it where the runner is held up before it reads that", async () => {
    const { ask, question, input, output } = asker({ answerMs: 1_000 });
    input.write("o\n");
    // Between the question's first words and the next thing that is read.
    output.once("data", () => process.nextTick(() => holdUp(400)));
    expect(await ask(question("A"))).toBeUndefined();
  });

  it("is not answered by the last of many lines that were typed before it, of which a terminal gives one at a time", async () => {
    const input = typed(["o\n", "o\n", "o\n", "o\n", "o\n"]);
    let lines = 0;
    input.on("data", () => {
      if (++lines === 4) holdUp(400);
    });
    const { ask, question } = asker({ input, answerMs: 1_000 });
    expect(await ask(question("A"))).toBeUndefined();
    expect(lines).toBe(5);
  });

  it("is denied when nobody answers in time, or the input ends; and nobody is asked what is settled", async () => {
    const { ask, question, shown, input } = asker({ answerMs: 30 });
    expect(await ask(question("A"))).toBeUndefined();
    expect(shown()).toContain("Nobody answered: denied.");
    expect(await ask(question("A", () => ({ allowed: true, rule: "policy" })))).toBe("policy");
    expect(await ask(question("A", () => ({ allowed: false, rule: "policy" })))).toBeUndefined();
    expect(shown().split("›")).toHaveLength(2);
    input.end();
    expect(await asker({ input }).ask(question("A"))).toBeUndefined();
  });

  it("is over when who asked has left, and the next one is asked", async () => {
    const { ask, question, answer, shown } = asker();
    const leaving = new AbortController();
    const first = ask(question("A", undefined, leaving.signal));
    const second = ask(question("B", undefined, leaving.signal));
    const third = ask(question("C"));
    await expect.poll(shown).toContain("›");
    leaving.abort();
    expect([await first, await second]).toEqual([undefined, undefined]);
    await answer("o", 2);
    expect(await third).toBe("asked: once");
    expect(shown()).toContain("Who asked has left.");
    expect(shown()).not.toContain("variable B");
  });

  it("waits its turn, and of too many the last are denied at once", async () => {
    const { ask, question, shown } = asker({ answerMs: 5 });
    const all = Array.from({ length: 40 }, (_, at) => ask(question(`A${at}`)));
    expect(await Promise.all(all)).toEqual(Array(40).fill(undefined));
    expect(shown().split("›")).toHaveLength(17);
  });
});

describe("--audit-only", () => {
  it("collects the flags of all jobs, each item once, and no more than a command line takes", () => {
    const told: (readonly string[])[] = [];
    const audit = auditOnly((flags) => told.push(flags));
    audit.missing([env("A"), { kind: "shell", value: "", what: "" }]);
    audit.missing([env("B"), env("A")]);
    expect(told).toEqual([["--allow-env=A", "--allow-shell"], ["--allow-env=B,A"]]);
    expect(audit.flags()).toEqual(["--allow-env=A,B", "--allow-shell"]);
    for (let at = 0; at < 2_000; at++) audit.missing([env(`V${at}`)]);
    expect(audit.flags()[0]?.split(",").length).toBeLessThanOrEqual(1_000);
  });
});
