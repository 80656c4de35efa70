import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processesOf } from "./processes.ts";
import { Rig, root } from "./rig.ts";

describe("the rig", () => {
  it("sees a job's process, whose environment does not name the rig", async () => {
    await using rig = new Rig();
    await rig.pairedRunner();
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo pid $$; exec sleep 30"]);
    const [, pid] = await live.waitFor(/pid (\d+)/);
    expect(processesOf(rig.folder)).toContain(Number(pid));
    live.child.kill("SIGINT");
    await live.ended;
    expect(processesOf(rig.folder)).not.toContain(Number(pid));
  });

  it("finds no process of another file's tests: those that are looked for sleep as long as no other file's do", () => {
    const folder = join(root, "test");
    const users = new Map<string, Set<string>>();
    for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".ts"),
    ))
      for (const [, seconds = ""] of readFileSync(join(folder, file), "utf8").matchAll(
        /(?:\bsleep(?: |\\x00|\\0|", ")|; done # )([4-9]\d{3})\b/g,
      ))
        users.set(seconds, (users.get(seconds) ?? new Set()).add(file));
    expect(users.size).toBeGreaterThan(50);
    expect([...users].filter(([, files]) => files.size > 1)).toEqual([]);
  });
});
