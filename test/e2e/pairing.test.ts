import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import { Rig } from "../rig/rig.ts";
import { terminal } from "../rig/terminal.ts";

describe("trust, by the commands", () => {
  it("is made by an invite, shown on both sides, renamed and removed", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    const id = await rig.coordinator(["id"]);
    expect(id.text).toMatch(/^12D3Koo\w+\n$/);
    expect((await rig.runner(["id"], runner.home)).text.trim()).toBe(runner.peer);

    const invited = await rig.runner(["invite", "--ttl", "1h"], runner.home);
    expect(invited.text).toMatch(/^sortie:\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/\w+\?token=\S+\n$/);
    const added = await rig.coordinator(["add", invited.text.trim(), "--name", "big"]);
    expect(added.text).toBe(
      `big (${runner.peer}) is trusted, and trusts this coordinator.\nTry: npx coordinator exec big -- uname -a\n`,
    );
    const listed = await rig.coordinator(["trust", "list", "--json"]);
    expect(JSON.parse(listed.text)).toMatchObject([
      { peer: runner.peer, name: "big", addresses: [expect.stringContaining(`/p2p/${runner.peer}`)] },
    ]);
    expect((await rig.runner(["trust", "list"], runner.home)).text).toContain(id.text.trim());

    expect((await rig.coordinator(["trust", "rename", "big", "small"])).code).toBe(0);
    expect((await rig.coordinator(["exec", "small", "--", "true"])).code).toBe(0);
    expect((await rig.coordinator(["trust", "remove", "small"])).text).toBe("small is no longer trusted.\n");
    expect((await rig.coordinator(["trust", "list", "--json"])).text).toBe("[]\n");
  });

  it("ends a removed peer's connection and job, and does not come back with the invite it used", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1");
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; sleep 600"]);
    await live.waitFor(/up/);
    const peer = (await rig.coordinator(["id"])).text.trim();
    expect((await rig.runner(["trust", "revoke", peer], runner.home)).code).toBe(0);
    expect((await live.ended).code).toBe(125);
    const again = await rig.coordinator(["add", runner.invite]);
    expect(again.code).toBe(3);
    expect(again.stderr).toContain("error[PAIRING_REFUSED]");
    expect((await rig.runner(["trust", "list", "--json"], runner.home)).text).toBe("[]\n");
  });

  it("ends a coordinator's own calls to a runner that it revokes", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1");
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; sleep 601"]);
    await live.waitFor(/up/);
    const revoked = await rig.coordinator(["trust", "revoke", "w1", "--json"]);
    expect(JSON.parse(revoked.text)).toMatchObject({ name: "w1" });
    const { code, stderr } = await live.ended;
    expect([code, stderr]).toEqual([125, expect.stringContaining("The runner w1 is not trusted any more.")]);
  });

  it("keeps the group of an invite, and shows it", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    const invited = await rig.runner(["invite", "--group", "guests"], runner.home);
    expect((await rig.coordinator(["add", invited.text.trim()])).code).toBe(0);
    expect((await rig.runner(["trust", "list"], runner.home)).text).toMatch(/ {2}group guests {2}since /);
    const bad = await rig.runner(["invite", "--policy", "a b"], runner.home);
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringContaining("--group takes a name of letters")]);
  });

  it("is made by a code and an address that name no peer, or by one that does", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    const told = (await rig.runner(["invite", "--code"], runner.home)).text;
    const [, code = "", address = ""] = /^\S+\n {2}npx coordinator add --code (\S+) (\S+)\n$/.exec(told) ?? [];
    expect(address).toMatch(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+$/);
    const wrong = code.replace(/.$/, (last) => (last === "7" ? "8" : "7"));
    const refused = await rig.coordinator(["add", "--code", wrong, address]);
    expect([refused.code, refused.stderr]).toEqual([
      3,
      expect.stringContaining("The peer refused the code: it is wrong"),
    ]);
    await runner.waitFor(/refused to pair with 12D3Koo\w+ at 127\.0\.0\.1: a wrong code/);
    const added = await rig.coordinator(["add", "--code", code.toLowerCase(), address]);
    expect(added.text).toContain(`w1 (${runner.peer}) is trusted`);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "here"])).text).toBe("here\n");

    const elsewhere = { env: { SORTIE_HOME: join(rig.folder, "other") } };
    const json = JSON.parse((await rig.runner(["invite", "--code", "--json"], runner.home)).text);
    expect(json).toMatchObject({ peer: runner.peer, addresses: [runner.address] });
    expect((await rig.coordinator(["add", "--code", json.code, runner.address], elsewhere)).code).toBe(0);
    const long = await rig.runner(["invite", "--code", "--ttl", "11m"], runner.home);
    expect([long.code, long.stderr]).toEqual([2, expect.stringContaining("ten minutes at most")]);
    const addresses = ["/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"];
    const several = await rig.runner(
      ["invite", "--code", ...addresses.flatMap((one) => ["--address", one])],
      runner.home,
    );
    expect(several.text).toMatch(/^\S+\n.*\/ip4\/192\.0\.2\.1\/tcp\/1\n {2}or\n.*\/ip4\/192\.0\.2\.2\/tcp\/1\n$/);
    const none = await rig.coordinator(["add", "--code", code, "w1:7700"]);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('"w1:7700" is not an address')]);
  });

  it("shows an invite as a QR code, and as JSON, and asks a person about the runner", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    const [url = "", ...lines] = (await rig.runner(["invite", "--qr"], runner.home)).text.split("\n");
    expect(url).toMatch(/^sortie:/);
    expect(lines.filter((line) => /[▀▄█ ]{40}/.test(line)).length).toBeGreaterThan(20);
    const json = JSON.parse((await rig.runner(["invite", "--json", "--group", "ci"], runner.home)).text);
    expect(json).toMatchObject({ url: expect.stringMatching(/^sortie:/), peer: runner.peer, group: "ci" });

    const add = `node dist/coordinator.js add '${json.url}'`;
    using unsure = terminal(rig, add);
    await unsure.shows(new RegExp(`${runner.peer.replace(/.{4}(?=.)/g, "$& ")}\\s+Trust it\\? \\[y/N\\]`));
    unsure.type("n");
    unsure.press("Enter");
    await unsure.shows(/error\[USAGE\]: The runner was not added/);
    using sure = terminal(rig, add);
    await sure.shows("Trust it?");
    sure.type("y");
    sure.press("Enter");
    await sure.shows("w1 (");
    await sure.shows("code=0");
  });

  it("says what is wrong before an invite is used up", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    for (const [args, text] of [
      [["add", runner.invite, "--name", "a b"], /error\[USAGE\]: "a b" is not a name/],
      [["add", runner.invite.slice(0, -6)], /error\[INVITE_INVALID\]: The invite has no whole token/],
      [["add", "https://example.com"], /error\[INVITE_INVALID\]: The invite does not begin with sortie:/],
      [["trust", "remove"], /error\[USAGE\]: trust remove takes one peer/],
      [["trust", "remove", "w1", "w2"], /error\[USAGE\]: trust remove takes one peer/],
      [["trust", "list", "w1"], /error\[USAGE\]: trust list takes no peer/],
      [["trust", "remove", "nobody"], /error\[NOT_FOUND\]: .*\n +hint: `trust list`/],
    ] as const) {
      const { code, stderr } = await rig.coordinator(args);
      expect(stderr).toMatch(text);
      expect(code).toBe(2);
      expect(stderr).not.toContain(runner.invite.slice(-30, -8));
    }
    expect((await rig.coordinator(["add", runner.invite])).code).toBe(0);
  });

  it("names a runner that is down, one whose invite is used, and a damaged file", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    expect((await rig.coordinator(["add", runner.invite])).code).toBe(0);
    const elsewhere = { env: { SORTIE_HOME: join(rig.folder, "other") } };
    const used = await rig.coordinator(["add", runner.invite], elsewhere);
    expect([used.code, used.stderr]).toEqual([3, expect.stringContaining("error[PAIRING_REFUSED]")]);
    const invited = (await rig.runner(["invite"], runner.home)).text.trim();
    writeFileSync(join(runner.home, "runner", "trust.json"), "{");
    expect((await rig.coordinator(["exec", "w1", "--", "true"])).stderr).toContain("error[UNTRUSTED]");
    await runner.waitFor(/nobody gets a connection: The file .*trust\.json is damaged/);
    await runner.stop();
    const down = await rig.coordinator(["add", invited], elsewhere);
    expect([down.code, down.stderr]).toEqual([3, expect.stringContaining("error[RUNNER_UNREACHABLE]")]);
    writeFileSync(join(rig.home, "coordinator", "trust.json"), "{");
    const damaged = await rig.coordinator(["add", invited]);
    expect([damaged.code, damaged.stderr]).toEqual([3, expect.stringContaining("error[STATE_INVALID]")]);
  });

  it("needs a runner that runs for an invite, and says what it takes", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    for (const ttl of ["0", "8d", "x", "-1m", "1.5h"]) {
      const refused = await rig.runner(["invite", `--ttl=${ttl}`], runner.home);
      expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("--ttl takes a time like")]);
    }
    const elsewhere = await rig.runner(["invite", "--address", "w1:7700"], runner.home);
    expect([elsewhere.code, elsewhere.stderr]).toEqual([2, expect.stringContaining("is not an address of this peer")]);
    const second = await rig.runner(["start", "--listen", "/ip4/127.0.0.1/tcp/0"], runner.home);
    expect(second.stderr).toMatch(new RegExp(`error\\[STATE_LOCKED\\]: The process ${runner.pid} uses`));
    await runner.stop("SIGKILL");
    const none = await rig.runner(["invite"], runner.home);
    expect([none.code, none.stderr]).toEqual([2, expect.stringMatching(/No runner runs on .*\n +hint: Start it/)]);
    // As many as one that is started for each job leaves within ten minutes.
    const alive = { key: "", expiresAt: Date.now() + 600_000, usedBy: null };
    const many = Array.from({ length: limits.invitesAlive }, (_, index) => ({ ...alive, id: `${index}` }));
    writeFileSync(join(runner.home, "runner", "invites.json"), JSON.stringify(many));
    const again = rig.spawnRunner(["start", "--listen", "/ip4/127.0.0.1/tcp/0"], runner.home);
    await again.waitFor(/no invite is made: 1000 invites are alive already/);
    again.child.kill();
    expect((await again.ended).code).toBe(0);
  });
});
