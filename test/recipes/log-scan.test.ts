import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig, until } from "../rig/rig.ts";
import { whyNoSshd } from "../rig/sshd.ts";
import { startHosts } from "./ssh-hosts.ts";

const missing = whyNoSshd();
const args = (...params: readonly string[]): string[] => [
  ...["run", "recipes/log-scan.ts"],
  ...params.flatMap((param) => ["--set", param]),
];

describe("recipes/log-scan.ts", () => {
  it("finds what a log says already", async () => {
    await using rig = new Rig();
    const { code, text } = await rig.coordinator(args());
    expect(code).toBe(0);
    expect(text).toMatch(/│ here: 2026-01-01T08:00:02Z ready\n/);
  });

  it("fails when the time is up, and ends what followed the log", async () => {
    await using rig = new Rig();
    const file = join(rig.folder, "server.log");
    writeFileSync(file, "already\n");
    const { code, text } = await rig.coordinator(args(`file=${file}`, "within=500ms"));
    expect(code).toBe(1);
    expect(text).toContain("was not seen within 500ms on here.");
    expect(processesOf(file)).toEqual([]);
  });

  describe.skipIf(missing !== undefined)(`on several machines${missing ? ` (${missing})` : ""}`, () => {
    it("follows all of them at once until each has said it, and ends what followed", async () => {
      await using hosts = await startHosts("web1", "web2");
      await using rig = new Rig();
      // The hosts are reached from the runner.
      const runner = await rig.startRunner("w1", undefined, undefined, { env: hosts.env });
      expect((await rig.coordinator(["add", runner.invite])).code).toBe(0);
      const file = join(rig.folder, "server.log");
      writeFileSync(file, "starting\n");
      const live = rig.spawnCoordinator(args(`file=${file}`, 'hosts=["web1","web2"]', 'runners=["w1"]'));
      expect(await live.waitFor(/scan │ started on w1/)).toBeTruthy();
      const following = await until(
        () => processesOf(`tail\0-n\0+1\0-F\0${file}`),
        (pids) => pids.length >= 3,
      );
      expect(following.length).toBeGreaterThanOrEqual(3);
      appendFileSync(file, "not yet\nready now\n");
      const { code, text } = await live.ended;
      expect(code).toBe(0);
      for (const name of ["web1", "web2", "w1"]) expect(text).toContain(`scan │ ${name}: ready now\n`);
      expect(processesOf(`tail\0-n\0+1\0-F\0${file}`)).toEqual([]);
    });
  });
});
