import { describe, expect } from "vitest";
import { Rig } from "../rig/rig.ts";
import { attack } from "./attack.ts";

describe("a peer that nobody paired with", () => {
  attack("an unpaired coordinator asks a runner for its info", "no connection, UNTRUSTED", async () => {
    await using rig = new Rig();
    const paired = await rig.pairedRunner("w1");
    const stranger = { env: { SORTIE_HOME: `${rig.folder}/stranger` } };
    // The stranger pinned the runner in a way of its own; the runner knows nothing of it.
    const { openTrust } = await import("../../protocol/trust.ts");
    openTrust(`${rig.folder}/stranger/coordinator`).pin(paired.peer, "w1", [paired.address]);
    const refused = await rig.coordinator(["exec", "w1", "--", "true"], stranger);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toContain("error[UNTRUSTED]");
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "still"])).text).toBe("still\n");
  });
});
