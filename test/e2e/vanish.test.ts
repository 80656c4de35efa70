import { createHash, randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { openProxy, portOf, through } from "../rig/proxy.ts";
import { Rig } from "../rig/rig.ts";

const MiB = 1024 * 1024;

it("notices a peer that vanished without a word, and goes on where it was once it is there again", async () => {
  await using rig = new Rig();
  const runner = await rig.startRunner("w1", ["-A", "--silence-after", "2s"]);
  const proxy = await openProxy(() => portOf(runner.address));
  try {
    await rig.coordinator(["add", through(proxy.port, runner.invite)]);
    const script = "i=0; while [ $i -lt 50 ]; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.1; done; exit 7";
    const live = rig.spawnCoordinator(["exec", "w1", "--silence-after", "2s", "--", "sh", "-c", script]);
    await live.waitFor(/out 5\n/);
    proxy.freeze();
    await live.waitFor(/looking for w1/);
    expect(live.stdout()).not.toContain("out 49");
    proxy.thaw();
    const { code, text, stderr } = await live.ended;
    const lines = (name: string): string => Array.from({ length: 50 }, (_, index) => `${name} ${index}\n`).join("");
    expect({ code, text }).toEqual({ code: 7, text: lines("out") });
    expect(stderr).toContain("sortie: w1 is there again");
    expect(stderr.replace(/^sortie: .*\n/gm, "")).toBe(lines("err"));
  } finally {
    await proxy.close();
  }
});

it("gives a command its whole stdin, with ten cuts on the way", async () => {
  await using rig = new Rig();
  const runner = await rig.startRunner();
  let cuts = 0;
  const proxy = await openProxy(
    () => portOf(runner.address),
    (passed, self) => {
      if (cuts >= 10 || passed < (cuts + 1) * 6 * MiB) return;
      cuts++;
      self.cut();
    },
  );
  try {
    await rig.coordinator(["add", through(proxy.port, runner.invite)]);
    const input = randomBytes(64 * MiB);
    const { code, text } = await rig.coordinator(["exec", "w1", "--", "sha256sum"], { input });
    expect({ code, text, cuts }).toEqual({
      code: 0,
      text: `${createHash("sha256").update(input).digest("hex")}  -\n`,
      cuts: 10,
    });
  } finally {
    await proxy.close();
  }
});
