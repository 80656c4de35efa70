import { describe, expect, it } from "vitest";
import { processesOf, Rig } from "./rig.ts";

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
});
