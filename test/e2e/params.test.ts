import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

const source = `import { job, recipe, sh } from "sortie";
import * as v from "valibot";
export default recipe({
  params: v.object({
    count: v.optional(v.pipe(v.number(), v.maxValue(5), v.description("how often")), 3),
    word: v.picklist(["hello", "bye"]),
    token: v.optional(v.string()),
    text: v.optional(v.string(), "none"),
  }),
  env: { token: "THE_TOKEN" },
  jobs: ({ count, word, token, text }) => ({
    say: job({ run: sh\`echo \${count} \${word} \${token ?? "-"} \${text}\` }),
  }),
});`;

it("a recipe's params come from options, files and the environment, stay with the run, and are refused at once", async () => {
  await using rig = new Rig();
  const path = rig.recipe(source, "params.ts");
  writeFileSync(join(rig.folder, "text"), "of a file\n");
  const given = ["--set", "word=bye", "--set", "count=4", "--set-file", `text=${join(rig.folder, "text")}`];
  const ran = await rig.coordinator(["run", path, ...given], { env: { THE_TOKEN: "out-of-the-environment" } });
  expect(ran.text).toContain("│ 4 bye out-of-the-environment of a file\n");
  expect(ran.code).toBe(0);
  expect((await rig.coordinator(["show", "last"])).text).toContain(
    "params word=bye count=4 text (from a file) token (from the environment)\n",
  );
  const json = await rig.coordinator(["run", path, "--format", "json", ...given], {
    env: { THE_TOKEN: "out-of-the-environment" },
  });
  const [started = ""] = json.text.split("\n");
  expect(started).toContain('{"key":"word","from":"option","text":"bye"}');
  expect(started).not.toMatch(/out-of-the-environment|of a file/);
  expect((await rig.coordinator(["show", "last", "--json"])).text).not.toContain("out-of-the-environment");

  const wrong = await rig.coordinator(["run", path, "--set", "word=hello", "--set", "count=9"]);
  expect(wrong).toMatchObject({ code: 2, text: "" });
  expect(wrong.stderr).toMatch(/error\[RECIPE_PARAMS\]: .*count="9": .*<=5/);
  expect(wrong.stderr).toContain(`at ${path}:3:`);
  const secret = await rig.coordinator([
    "run",
    path,
    "--set",
    "word=hello",
    "--set-file",
    `count=${join(rig.folder, "text")}`,
  ]);
  expect([secret.code, secret.stderr.includes("of a file")]).toEqual([2, false]);
  const unknown = await rig.coordinator(["run", path, "--set", "wrod=hello", "--dry-run"]);
  expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("did you mean word?")]);
  const none = await rig.coordinator(["run", "recipes/hello.ts", "--set", "a=1"]);
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("takes no params; a is given")]);
  expect((await rig.coordinator(["run", path, "--set", "word"])).stderr).toContain("error[USAGE]");

  const help = await rig.coordinator(["run", path, "--help"]);
  expect(help.text).toMatch(/count +number +default: 3 +how often/);
  expect(help.text).toMatch(/word +"hello" \| "bye" +required/);
  expect(help.text).toMatch(/token +string +optional, or from THE_TOKEN/);
});

it("a recipe's params are kept for resume, and with --detach", async () => {
  await using rig = new Rig();
  await rig.pairedRunner("w1");
  const path = rig.recipe(
    `import { job, recipe, sh } from "sortie";
     import * as v from "valibot";
     const waits = job({ run: "echo ready; sleep 1" });
     export default recipe({
       params: v.object({ word: v.string() }),
       env: { word: "THE_WORD" },
       jobs: ({ word }) => ({ waits, say: job({ needs: [waits], run: sh\`echo said \${word}\` }) }),
     });`,
  );
  const live = rig.spawnCoordinator(["run", path], { env: { THE_WORD: "first" } });
  const [, run = ""] = await live.waitFor(/run (\w+):/);
  await live.waitFor(/ready/);
  live.child.kill("SIGKILL");
  await live.ended;
  const resumed = await rig.coordinator(["resume", run], { env: { THE_WORD: "second" } });
  expect([resumed.code, resumed.text]).toEqual([0, expect.stringContaining("│ said first\n")]);
  const detached = await rig.coordinator(["run", path, "--detach", "--set", "word=third"]);
  expect(detached.code).toBe(0);
  expect((await rig.coordinator(["attach", detached.text.trim()])).text).toContain("│ said third\n");
});
