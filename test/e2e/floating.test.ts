// A promise of a job's function that nobody awaits, and that fails: it is that job's failure, and other jobs go on. And what
// people see of a function's commands.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

const head = 'import { job, recipe } from "sortie";\n';
const endsIn = (text: string) =>
  Object.fromEntries(
    text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .filter(({ type }) => type === "job-ended")
      .map(({ job, outcome, exit, message }) => [job, { outcome, code: exit?.code, message }]),
  );

it("fails its job while that runs, and no other", async () => {
  await using rig = new Rig();
  const path = rig.recipe(`${head}
    const awaited = job({ async run({ $ }) { void $\`exit 4\`.then((result) => result.code); await $\`sleep 20\`; } });
    const thrown = job({ async run({ $ }) { void (async () => { await $\`true\`; throw new TypeError("not so"); })(); await $\`sleep 20\`; } });
    const last = job({ run({ $ }) { void $\`sleep 0.2\`.then(() => { throw new RangeError("at its end"); }); } });
    const other = job({ run: "sleep 2; echo done" });
    export default recipe({ awaited, thrown, last, other });`);
  const run = await rig.coordinator(["run", path, "--format", "json"]);
  expect([run.code, run.stderr]).toEqual([1, ""]);
  expect(endsIn(run.text)).toEqual({
    awaited: { outcome: "failed", code: 4, message: expect.stringMatching(/^exit 4: exit 4 \(.*:3:\d+\)$/) },
    thrown: { outcome: "failed", code: 1, message: expect.stringMatching(/^TypeError: not so \(.*:4:\d+\)$/) },
    last: { outcome: "failed", code: 1, message: expect.stringContaining("RangeError: at its end") },
    other: { outcome: "passed", code: 0 },
  });
});

it("is told where the job is over, and changes nothing of how it came out", async () => {
  await using rig = new Rig();
  const path = rig.recipe(`${head}
    const helped = job({ async run({ $ }) {
      const helper = (async () => (await $\`sleep 20\`.text()).trim())();
      await $\`sleep 0.2; exit 5\`;
      await helper;
    } });
    const done = job({ run() { setTimeout(() => void Promise.reject(new Error("long after")), 500); return 1; } });
    const other = job({ run: "until test -e ${join(rig.folder, "told")}; do sleep 0.05; done; echo done" });
    export default recipe({ helped, done, other });`);
  const live = rig.spawnCoordinator(["run", path]);
  for (const told of [/helped .* failed after it/, /done .* failed after it/]) await live.waitFor(told);
  writeFileSync(join(rig.folder, "told"), "");
  const run = await live.ended;
  expect([run.code, run.stderr]).toEqual([1, ""]);
  expect(run.text).toMatch(/^helped │ \[\$\] a promise that its function did not await failed after it: sleep 20: /m);
  expect(run.text).toMatch(/^done +│ \[\$\] .* failed after it: Error: long after/m);
  expect(run.text).toMatch(/^other +│ done$/m);
  const shown = JSON.parse((await rig.coordinator(["show", "last", "--json"])).text);
  expect(shown.jobs.map(({ name, outcome }: { name: string; outcome: string }) => [name, outcome])).toEqual([
    ["helped", "failed"],
    ["done", "passed"],
    ["other", "passed"],
  ]);
});

it("ends commands that wait for a reader who is gone, and the job with them", async () => {
  await using rig = new Rig();
  const path = rig.recipe(`${head}
    const first = job({ timeout: "20s", async run({ $ }) { return (await $\`yes\`.lines().next()).value; } });
    const failed = job({ timeout: "20s", async run({ $ }) {
      const reading = (async () => { for await (const line of $\`yes\`.lines()) await new Promise(() => {}); })();
      await $\`sleep 0.5; exit 6\`;
      await reading;
    } });
    export default recipe({ first, failed });`);
  const run = await rig.coordinator(["run", path, "--format", "json"]);
  expect([run.code, run.stderr]).toEqual([1, ""]);
  expect(endsIn(run.text)).toMatchObject({
    first: { outcome: "passed", code: 0 },
    failed: { outcome: "failed", code: 6 },
  });
});

it("a secret that a function puts into a command is in no event, no log and no record", async () => {
  await using rig = new Rig();
  const path = rig.recipe(`import { job, recipe, secret } from "sortie";
    const deploy = job({ env: { TOKEN: secret("DEPLOY_TOKEN") }, async run({ $, env }) {
      await $\`true \${env.DEPLOY_TOKEN}\`;
      await $\`exit 3 \${env.DEPLOY_TOKEN}\`;
    } });
    export default recipe({ deploy });`);
  const env = { DEPLOY_TOKEN: "whisper'whisper" };
  const run = await rig.coordinator(["run", path, "--format", "json"], { env });
  expect(run.code).toBe(1);
  expect(run.text).toContain("true '***'");
  expect(endsIn(run.text)["deploy"].message).toMatch(/^exit 3 '\*\*\*': exit 3 /);
  expect(run.text).not.toContain("whisper");
  const kept = readdirSync(join(rig.home, "coordinator"), { recursive: true, withFileTypes: true });
  const files = kept.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  expect(files.some((file) => readFileSync(file).includes("true '***'"))).toBe(true);
  expect(files.filter((file) => readFileSync(file).includes("whisper"))).toEqual([]);
});
