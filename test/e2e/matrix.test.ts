import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

it("a matrix runs each of its jobs, and what needs it after them; their names can be used, and are shown in quotes", async () => {
  await using rig = new Rig();
  const path = rig.recipe(`import { job, matrix, recipe, sh } from "sortie";
    const test = matrix({ node: ["24", "26"], os: ["a", "b"] }, ({ node, os }) => job({ run: sh\`echo \${node} on \${os}\` }),
      { exclude: [{ node: "24", os: "b" }] });
    const after = job({ needs: [test], run: "echo after" });
    const bad = matrix({ part: [1] }, () => job({ run: "exit 3" }));
    export default recipe({ after, test, bad });`);
  const { code, text } = await rig.coordinator(["run", path]);
  expect(code).toBe(1);
  for (const cell of ["node=24,os=a", "node=26,os=a", "node=26,os=b"]) {
    const [, node, os] = /node=(\d+),os=(\w)/.exec(cell) ?? [];
    expect(text).toContain(`test[${cell}]`);
    expect(await rig.coordinator(["logs", `last/test[${cell}]`])).toMatchObject({
      code: 0,
      text: `${node} on ${os}\n`,
    });
  }
  expect(text).not.toContain("node=24,os=b");
  expect(text.indexOf("│ after")).toBeGreaterThan(text.lastIndexOf("│ 26 on"));
  expect(text).toMatch(/coordinator logs '\w+\/bad\[part=1\]'/);
  const near = await rig.coordinator(["logs", "last/test[node=24,os=z]"]);
  expect([near.code, near.stderr]).toEqual([2, expect.stringContaining("Did you mean 'test[node=24,os=a]'?")]);
});
