// A policy file on a file system whose clock has long steps, as those of many kernels and of USB sticks have.
import { chmodSync, mkdtempSync, rmSync, type StatSyncOptions, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { compile, decide } from "../../../runner/grants/decide.ts";
import { openGrants } from "../../../runner/grants/grants.ts";

const STEP_NS = 2_000_000_000n;
vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const statSync = (path: string, options?: StatSyncOptions) => {
    const stat = fs.statSync(path, options);
    if (stat && "mtimeNs" in stat)
      Object.assign(stat, { mtimeNs: stat.mtimeNs / STEP_NS, ctimeNs: stat.ctimeNs / STEP_NS });
    return stat;
  };
  return { ...fs, statSync };
});

it("is read again for each job while it may have changed within one step, and tells each change once", () => {
  const folder = mkdtempSync(join(tmpdir(), "sortie-policy-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "runner.policy.json");
  const write = (name: string): void => writeFileSync(path, `{"allow":{"env":["${name}"]}}`, { mode: 0o600 });
  write("A0");
  const log: string[] = [];
  const flags = compile({ allow: {}, deny: {} }, "flags");
  const grants = openGrants({ flags, path, required: true, log: (line) => log.push(line) });
  onTestFinished(grants.close);
  const allows = (value: string): boolean =>
    decide(grants.sectionsFor({ peer: "peer", name: "peer" }), { kind: "env", value, what: "" }).allowed;
  for (let change = 1; change < 10; change++) {
    write(`A${change}`);
    expect([allows(`A${change}`), allows(`A${change - 1}`)]).toEqual([true, false]);
    expect(log).toHaveLength(change);
  }
  chmodSync(path, 0o666);
  expect([allows("A9"), allows("A9")]).toEqual([true, true]);
  expect(log.slice(9)).toEqual([expect.stringContaining("What was read before stays in force")]);
});
