import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { auditFiles, readHead } from "../../runner/keeper/audit/files.ts";
import { openAudit } from "../../runner/keeper/audit/writer.ts";
import { Rig } from "../rig/rig.ts";

describe("runner audit", () => {
  it("shows lines, by peer, as they are, and as they come; verifies; and prints the head", async () => {
    await using rig = new Rig();
    const home = join(rig.folder, "w1");
    const folder = join(home, "runner", "audit");
    expect(await rig.runner(["audit"], home)).toMatchObject({ code: 2, stderr: expect.stringContaining("NOT_FOUND") });

    const audit = openAudit(folder, () => {});
    await audit.write(["ann", "bob", "bob"].map((name) => ({ type: "paired", peer: `12D3KooW${name}-key`, name })));
    const path = join(folder, auditFiles(folder)[0]?.name ?? "");
    const [all, bobs, json, head, whole] = await Promise.all([
      rig.runner(["audit"], home),
      rig.runner(["audit", "--peer", "bob", "-n", "1"], home),
      rig.runner(["audit", "--json"], home),
      rig.runner(["audit", "head"], home),
      rig.runner(["audit", "verify"], home),
    ]);
    expect(all.text.match(/paired with/g)).toHaveLength(3);
    expect(bobs.text).toMatch(/^\S+ paired with bob \(12D3KooWbob-key\)\n$/);
    expect(json.text).toBe(readFileSync(path, "utf8"));
    expect(head.text.trim()).toBe(`4:${readHead(folder)?.hash}`);
    expect(whole).toMatchObject({ code: 0, text: expect.stringMatching(/^whole: 4 lines in 1 file/) });

    const following = rig.spawnRunner(["audit", "-f", "-n", "1"], home);
    await following.waitFor(/paired with bob/);
    await audit.write([{ type: "trust-removed", peer: "12D3KooWbob-key" }]);
    await following.waitFor(/no longer trusts 12D3KooWbob-key/);
    following.child.kill("SIGINT");
    expect((await following.ended).code).toBe(0);
    await audit.close();

    const noted = head.text.trim();
    writeFileSync(path, readFileSync(path, "utf8").replace("ann-key", "eve-key"));
    const [broken, other] = await Promise.all([
      rig.runner(["audit", "verify"], home),
      rig.runner(["audit", "verify", "--head", noted.replace(/^4/, "3")], home),
    ]);
    expect(broken).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^000000000001\.jsonl line 3: [\s\S]*AUDIT_BROKEN/),
    });
    expect(other.stderr).toContain("line 3 is another one than was noted");

    writeFileSync(path, readFileSync(path, "utf8").replace("\n", "\n\u001b[2JFORGED\n"));
    for (const { text, stderr } of await Promise.all([
      rig.runner(["audit", "verify"], home),
      rig.runner(["audit", "--json"], home),
      rig.runner(["audit"], home),
    ])) {
      expect(text + stderr).toContain("FORGED");
      expect(text + stderr).not.toContain("\u001b");
    }
    writeFileSync(join(folder, "head.json"), "{");
    expect(await rig.runner(["audit", "head"], home)).toMatchObject({ stderr: expect.stringContaining("has no head") });
  });
});
