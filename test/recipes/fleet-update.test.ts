import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig, until } from "../rig/rig.ts";
import { whyNoSshd } from "../rig/sshd.ts";
import { startHosts } from "./ssh-hosts.ts";

const missing = whyNoSshd();
/** A port where nothing listens. */
const DEAD = "root@127.0.0.1:1";

describe.skipIf(missing !== undefined)(`recipes/fleet-update.ts${missing ? ` (${missing})` : ""}`, () => {
  const run = (rig: Rig, env: Record<string, string>, ...params: readonly string[]) =>
    rig.coordinator(["run", "recipes/fleet-update.ts", ...params.flatMap((param) => ["--set", param])], { env });
  /** What apt says takes long without its cache. */
  const pending = "pending=echo 7";

  it("updates host after host, goes on where one fails or cannot be reached, and reports on all", async () => {
    await using hosts = await startHosts("web1", "web2");
    await using rig = new Rig();
    const file = join(rig.folder, "updates");
    const update = `echo begin >> ${file}; sleep 0.3; echo end >> ${file}; test "$(grep -c end ${file})" != 1`;
    const all = await run(rig, hosts.env, 'hosts=["web1","web2"]', `update=${update}`, pending);
    // Each had ended before the next began, and the first of them failed.
    expect(readFileSync(file, "utf8")).toBe("begin\nend\nbegin\nend\n");
    expect(all.text).toMatch(/report +│ web1 +failed *\n/);
    expect(all.text).toMatch(/report +│ web2 +passed +\d+\.\d +\d+% +7\n/);
    expect(all.text).toMatch(/report +│ 1 of 2 are well/);
    expect(all.code).toBe(0);

    const dead = await run(rig, hosts.env, `hosts=["${DEAD}","web1"]`, pending);
    expect(dead.text).toMatch(/report +│ root@127\.0\.0\.1:1 +lost *\n/);
    expect(dead.text).toMatch(/report +│ web1 +passed +\d+\.\d +\d+% +7\n/);
    expect(dead.code).toBe(3);
  });

  it("updates no more hosts once it is cancelled", async () => {
    await using hosts = await startHosts("web1", "web2", "web3");
    await using rig = new Rig();
    const file = join(rig.folder, "updates");
    const params = ['hosts=["web1","web2","web3"]', `update=echo begin >> ${file}; sleep 30`, pending];
    const args = ["run", "recipes/fleet-update.ts", ...params.flatMap((param) => ["--set", param])];
    const live = rig.spawnCoordinator(args, { env: hosts.env });
    // The shell makes the file first, and then writes it.
    const begun = (): string => (existsSync(file) ? readFileSync(file, "utf8") : "");
    expect(await until(begun, Boolean)).toBe("begin\n");
    live.child.kill("SIGINT");
    const { code, text } = await live.ended;
    expect(code).toBe(130);
    expect(readFileSync(file, "utf8")).toBe("begin\n");
    expect(text).toMatch(/report +│ web1 +cancelled *\n/);
    expect(text).toMatch(/report +│ web3 +(?:skipped|cancelled) *\n/);
  });

  it("updates as many at once as it is told", async () => {
    await using hosts = await startHosts("web1", "web2");
    await using rig = new Rig();
    const file = join(rig.folder, "updates");
    // Neither ends before both have begun.
    const update = `echo begin >> ${file}; until [ "$(grep -c begin ${file})" = 2 ]; do sleep 0.05; done; echo end >> ${file}`;
    const { code } = await run(
      rig,
      hosts.env,
      `hosts=${JSON.stringify(["web1", "web2"])}`,
      "atOnce=2",
      `update=${update}`,
      pending,
    );
    expect(code).toBe(0);
    expect(readFileSync(file, "utf8")).toBe("begin\nbegin\nend\nend\n");
  });

  it("works on runners by their names, and where it is when it is told none", async () => {
    await using rig = new Rig();
    const here = await run(rig, {}, pending);
    expect(here.code).toBe(0);
    expect(here.text).toMatch(/report +│ here +passed +\d+\.\d +\d+%/);
    await rig.pairedRunner("w1");
    const runner = await run(rig, {}, 'runners=["w1"]', pending);
    expect(runner.code).toBe(0);
    expect(runner.text).toMatch(/update-w1 +│ started on w1\n/);
    expect(runner.text).toMatch(/report +│ w1 +passed/);
  });
});
