import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

it("keeps a job that says nothing for three minutes", async () => {
  // libp2p ends a TCP socket after two idle minutes by default.
  await using rig = new Rig();
  await rig.pairedRunner("w1");
  const { code, text } = await rig.coordinator(["exec", "w1", "--", "sh", "-c", "sleep 185; echo after"]);
  expect({ code, text }).toEqual({ code: 0, text: "after\n" });
}, 240_000);
