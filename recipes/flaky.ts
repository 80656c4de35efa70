/** Flaky tests: runs a test command many times and tells how often each test failed, from its JUnit or TAP output. */
import { join } from "node:path";
import { SaxesParser } from "saxes";
import { job, matrix, recipe } from "sortie";
import * as v from "valibot";

/** Whether each test of a round passed. */
type Round = Readonly<Record<string, boolean>>;

export default recipe({
  params: v.object({
    folder: v.optional(
      v.pipe(v.string(), v.description("where the command runs; absolute, on the runner")),
      join(import.meta.dirname, "example/packages/words"),
    ),
    command: v.optional(
      v.pipe(v.string(), v.description("prints JUnit XML or TAP, alone")),
      "node --test --test-reporter=junit",
    ),
    rounds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000)), 10),
    threshold: v.optional(
      v.pipe(v.number(), v.minValue(0), v.maxValue(100), v.description("failures that are borne, in percent")),
      0,
    ),
  }),
  jobs: ({ folder, command, rounds, threshold }) => {
    const round = matrix({ round: Array.from({ length: rounds }, (_, index) => index + 1) }, () =>
      job({
        cwd: folder,
        timeout: "1h",
        async run({ $ }): Promise<Round> {
          const output = await $(["sh", "-c", command]).nothrow().text();
          const tests = output.includes("<testcase") ? testsOfJunit(output) : testsOfTap(output);
          if (Object.keys(tests).length === 0) throw new Error(`${command} printed no test, as JUnit XML or TAP.`);
          return tests;
        },
      }),
    );

    const report = job({
      needs: [round],
      run({ needs: [results], log }) {
        const all = Object.values(results).map(({ output }) => output);
        const rates = [...new Set(all.flatMap(Object.keys))].map((test) => {
          const passed = all.flatMap((tests) => tests[test] ?? []);
          const failures = passed.filter((one) => !one).length;
          return { test, failures, runs: passed.length, percent: (failures / passed.length) * 100 };
        });
        const failing = rates.filter(({ failures }) => failures > 0).sort((a, b) => b.percent - a.percent);
        for (const { test, failures, runs, percent } of failing)
          log(`${percent.toFixed(1).padStart(5)}%  ${failures} of ${runs}  ${test}`);
        log(`${rates.length} tests in ${all.length} rounds, ${failing.length} failed at least once`);
        const worst = failing[0];
        if (worst && worst.percent > threshold)
          throw new Error(`${worst.test} failed in ${worst.percent.toFixed(1)}% of its runs, over ${threshold}%.`);
        return rates;
      },
    });

    return { round, report };
  },
});

/** A test that stands there twice has passed where both have. */
const noted = (tests: Record<string, boolean>, name: string, passed: boolean): void => {
  tests[name] = passed && (tests[name] ?? true);
};

/** What is to do or skipped has not failed. */
function testsOfJunit(output: string): Round {
  const tests: Record<string, boolean> = {};
  const parser = new SaxesParser();
  let test = { name: "", failed: false, skipped: false };
  parser.on("error", (error) => {
    throw error;
  });
  parser.on("opentag", ({ name: tag, attributes }) => {
    if (tag === "testcase") {
      const name = [attributes["classname"], attributes["name"]].filter(Boolean).join(" › ");
      test = { name, failed: false, skipped: false };
    } else if (tag === "failure" || tag === "error") test.failed = true;
    else if (tag === "skipped") test.skipped = true;
  });
  parser.on("closetag", ({ name: tag }) => {
    if (tag === "testcase") noted(tests, test.name, test.skipped || !test.failed);
  });
  parser.write(output.slice(output.indexOf("<"))).close();
  return tests;
}

/** `ok 1 - NAME` and `not ok 2 - NAME`, those within another indented. */
function testsOfTap(output: string): Round {
  const tests: Record<string, boolean> = {};
  for (const [, not, text = ""] of output.matchAll(/^ *(not )?ok\b(?: \d+)?(?: -)?(.*)$/gm)) {
    const [name = "", directive = ""] = text.split(/ # (?=todo|skip)/i);
    noted(tests, name.trim(), not === undefined || directive !== "");
  }
  return tests;
}
