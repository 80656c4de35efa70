import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

describe("the command line", () => {
  it("shows stack traces for --debug", async () => {
    await using rig = new Rig();
    expect((await rig.coordinator(["--debug", "show", "nothing"])).stderr).toMatch(/^ {4}at /m);
  });

  it("leaves what follows -- to the command that is run", async () => {
    await using rig = new Rig();
    const { code, stderr } = await rig.coordinator(["exec", "nobody", "--", "true", "--debug", "--version", "--help"]);
    expect({ code, stderr }).toEqual({ code: 125, stderr: expect.stringMatching(/^error\[NOT_FOUND\]/) });
    expect(stderr).not.toMatch(/^ {4}at /m);
  });
});
