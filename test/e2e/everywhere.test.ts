// One recipe, wherever it runs: inside the coordinator or on two runners, as processes, in containers or over ssh. The same
// plan, the same results, the same exit code.
import { afterAll, describe, expect, it } from "vitest";
import { IMAGE, testEngine } from "../rig/engine.ts";
import { Rig } from "../rig/rig.ts";
import { endsIn } from "../rig/run-events.ts";
import { type Sshd, startSshd, whyNoSshd } from "../rig/sshd.ts";

const engine = await testEngine("docker");
const why = { process: undefined, container: "missing" in engine ? engine.missing : undefined, ssh: whyNoSshd() };
const places = { process: {}, container: { container: IMAGE }, ssh: { ssh: "target" } };

const source = `import { job as plain, matrix, recipe, sh } from "sortie";
  import * as v from "valibot";
  const place = JSON.parse(process.env.PLACE ?? "{}");
  const job = (options) => plain({ ...place, ...options });

  const version = job({ run: ["echo", "1.2.3"], output: "text" });
  const described = job({ run: ["echo", '{"name":"app"}'], output: v.object({ name: v.string() }) });
  const cells = matrix({ n: [1, 2], os: ["a", "b"] }, ({ n, os }) => job({ run: \`echo \${n}\${os}\`, output: "text" }), { exclude: [{ n: 2, os: "b" }] });
  const reads = job({ run: "tr a-z A-Z", stdin: "given", output: "text" });
  const build = job({
    needs: [version, described, cells],
    env: { WORD: "it's" },
    async run({ $, needs: [one, two, three] }) {
      await $\`echo "$WORD" > file\`;
      const word = await $\`cat file\`.text();
      const { code } = await $\`exit 3\`.nothrow();
      const missing = await $(["no-such-program"]).nothrow();
      const piped = await $\`seq 1 1000\`.pipe($\`wc -l\`).text();
      const lines = [];
      for await (const line of $\`printf 'a\\nb'\`.lines()) lines.push(line);
      const read = await $\`cat\`.stdin("to a command").text();
      const [left, right] = await Promise.all([$\`echo left; echo aside >&2\`.text(), $\`echo right\`.text()]);
      const seen = { version: one.output, name: two.output.name, cells: Object.values(three).map((cell) => cell.output) };
      return { word, code, missing: [missing.code, missing.exit.reason], piped: piped.trim(), lines, read, left, right, seen };
    },
  });
  const discover = job({ needs: [build], run: () => Object.fromEntries(["x", "y"].map((name) => [name, job({ run: sh\`echo \${name}\`, output: "text" })])) });
  const reduce = job({ needs: [discover], run: ({ needs: [all] }) => Object.values(all.output).map(({ output }) => output) });
  const fails = job({ run: "echo why >&2; exit 7" });
  const missing = job({ run: ["no-such-program"], allowFailure: true });
  const slow = job({ run: "sleep 30", timeout: "300ms", grace: "100ms", allowFailure: true });
  const throws = job({ async run({ $ }) { await $\`exit 9\`; }, allowFailure: true });
  const skipped = job({ needs: [fails], run: "true" });
  const never = job({ if: () => false, run: "true" });
  const cleanup = job({ always: true, needs: [fails, reduce, throws], run: ({ needs }) => needs.map(({ outcome, code, stderr }) => [outcome, code, stderr.split("\\n")[0]]) });
  export default recipe({ version, described, cells, reads, build, discover, reduce, fails, missing, slow, throws, skipped, never, cleanup });`;

/** What a reader is told of each job, without times and places. */
const resultsIn = (text: string): Record<string, unknown> =>
  Object.fromEntries(
    [...endsIn(text).values()]
      .map(({ job, outcome, allowed, output, exit }): [string, unknown] => [
        job,
        { outcome, allowed, output, exit: exit && [exit.reason, exit.code] },
      ])
      .sort(([one], [other]) => (one < other ? -1 : 1)),
  );

describe("one recipe, wherever it runs", () => {
  let sshd: Sshd | undefined;
  afterAll(() => sshd?.[Symbol.asyncDispose]());
  const environment = async (): Promise<Record<string, string>> => {
    if (why.ssh === undefined) sshd ??= await startSshd();
    return {
      ...("host" in engine ? { DOCKER_HOST: engine.host } : {}),
      ...(sshd ? { SORTIE_SSH_CONFIG: sshd.config } : {}),
    };
  };

  async function plannedAndRun(rig: Rig, backend: keyof typeof places, args: readonly string[]) {
    const env = { ...(await environment()), PLACE: JSON.stringify(places[backend]) };
    const path = rig.recipe(source);
    const planned = await rig.coordinator(["run", path, "--dry-run", "--format", "json", ...args], { env });
    const { jobs } = JSON.parse(planned.text.replaceAll(rig.folder, "FOLDER")) as { jobs: Record<string, unknown>[] };
    const plan = jobs.map(({ container: _, ssh: __, ...job }) => job);
    const run = await rig.coordinator(["run", path, "--format", "json", ...args], { env });
    return { plan, results: resultsIn(run.text.replaceAll(rig.folder, "FOLDER")), code: run.code, stderr: run.stderr };
  }

  let expected: Awaited<ReturnType<typeof plannedAndRun>> | undefined;
  const reference = async (): Promise<NonNullable<typeof expected>> => {
    await using rig = new Rig();
    expected ??= await plannedAndRun(rig, "process", ["--local"]);
    return expected;
  };

  it("comes out as it is written, inside the coordinator", async () => {
    const { results, code, stderr } = await reference();
    expect([code, stderr]).toEqual([1, ""]);
    expect(results).toMatchObject({
      build: {
        outcome: "passed",
        output: {
          ...{ word: "it's", code: 3, missing: [127, "failed-to-start"], piped: "1000", lines: ["a", "b"] },
          ...{ read: "to a command", left: "left", right: "right" },
          seen: { version: "1.2.3", name: "app", cells: ["1a", "1b", "2a"] },
        },
      },
      "discover.x": { outcome: "passed", output: "x" },
      reduce: { output: ["x", "y"] },
      reads: { output: "GIVEN" },
      fails: { outcome: "failed", exit: ["exited", 7] },
      missing: { outcome: "failed", allowed: true, exit: ["failed-to-start", 127] },
      slow: { outcome: "failed", allowed: true, exit: ["timeout", null] },
      throws: { outcome: "failed", allowed: true, exit: ["exited", 9] },
      skipped: { outcome: "skipped" },
      never: { outcome: "skipped" },
      cleanup: { output: [["failed", 7, "why"], ["passed", 0, ""], expect.arrayContaining(["failed", 9])] },
    });
    expect(Object.keys(results)).toHaveLength(18);
  });

  for (const backend of ["process", "container", "ssh"] as const)
    for (const where of ["inside the coordinator", "on two runners"] as const) {
      if (backend === "process" && where === "inside the coordinator") continue;
      it.skipIf(why[backend] !== undefined)(
        `comes out the same ${where}, by ${backend}${why[backend] === undefined ? "" : ` (${why[backend]})`}`,
        async () => {
          await using rig = new Rig();
          const env = await environment();
          for (const name of where === "on two runners" ? ["w1", "w2"] : []) {
            const runner = await rig.startRunner(name, ["-A", "--slots", "2"], undefined, { env });
            expect((await rig.coordinator(["add", runner.invite])).code).toBe(0);
          }
          const args = where === "on two runners" ? [] : ["--local"];
          expect(await plannedAndRun(rig, backend, args)).toEqual(await reference());
        },
      );
    }
});
