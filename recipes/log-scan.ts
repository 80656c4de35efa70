/** Log scan: follows a log on several machines at once until a pattern is seen on each, or the time is up. */
import { join } from "node:path";
import { job, recipe } from "sortie";
import * as v from "valibot";

const names = (description: string) => v.optional(v.pipe(v.array(v.string()), v.description(description)), []);

export default recipe({
  params: v.object({
    hosts: names("reached by ssh"),
    runners: names("by their names; without any host or runner: one that has a slot"),
    file: v.optional(
      v.pipe(v.string(), v.description("the log; absolute")),
      join(import.meta.dirname, "example/server.log"),
    ),
    pattern: v.optional(v.pipe(v.string(), v.description("a regular expression")), "\\bready\\b"),
    within: v.optional(v.pipe(v.string(), v.description("how long it is looked for, as 90s or 10m")), "1m"),
  }),
  jobs: ({ hosts, runners, file, pattern, within }) => {
    const expression = new RegExp(pattern);
    const places = [
      ...hosts.map((ssh) => ({ name: ssh, place: { ssh } })),
      ...runners.map((runner) => ({ name: runner, place: { on: { runner } } })),
    ];
    const [first, ...others] = places;

    const scan = job({
      ...first?.place,
      also: Object.fromEntries(others.map(({ place }, index) => [`other${index}`, place])),
      async run({ $, also, log }) {
        const machines = [
          { name: first?.name ?? "here", $ },
          ...others.map(({ name }, index) => ({ name, $: also[`other${index}`] ?? $ })),
        ];
        const seen = await Promise.all(
          machines.map(async ({ name, $ }) => {
            // Leaving the loop ends the command; so does its time.
            for await (const line of $`tail -n +1 -F ${file}`.timeout(within).nothrow().lines()) {
              if (!expression.test(line)) continue;
              log(`${name}: ${line}`);
              return { name, line };
            }
            return { name, line: undefined };
          }),
        );
        const without = seen.filter(({ line }) => line === undefined).map(({ name }) => name);
        if (without.length > 0) throw new Error(`${pattern} was not seen within ${within} on ${without.join(", ")}.`);
        return seen;
      },
    });

    return { scan };
  },
});
