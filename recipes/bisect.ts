/** Bisect: finds the first commit of a git repository for which a test command fails. */
import { job, recipe } from "sortie";
import * as v from "valibot";

const params = v.object({
  repository: v.optional(
    v.pipe(v.string(), v.description("what git clones: an absolute path or a URL")),
    process.cwd(),
  ),
  good: v.optional(v.pipe(v.string(), v.description("a commit for which it passes; default: the very first"))),
  bad: v.optional(v.pipe(v.string(), v.description("a later one for which it fails")), "HEAD"),
  test: v.optional(v.pipe(v.string(), v.description("exits 0: good, 125: cannot be told")), "! test -e CHANGELOG.md"),
});

export default recipe({
  params,
  jobs: ({ repository, good, bad, test }) => ({
    bisect: job({
      async run({ $, log }) {
        /** As `git bisect run` reads the exit code. */
        async function verdict(): Promise<"good" | "bad" | "skip"> {
          const { code } = await $(["sh", "-c", test]).nothrow();
          if (code === null || code > 127) throw new Error("the test command itself broke");
          return code === 0 ? "good" : code === 125 ? "skip" : "bad";
        }
        await $`git clone --quiet ${repository} .`;
        const hashOf = (commit: string): Promise<string> => $`git rev-parse --verify ${commit}`.text();
        const from = good ? await hashOf(good) : await $`git rev-list --max-parents=0 HEAD | tail -n 1`.text();
        const to = await hashOf(bad);
        for (const [commit, wanted] of [
          [from, "good"],
          [to, "bad"],
        ] as const) {
          await $`git checkout --quiet --detach ${commit}`;
          if ((await verdict()) !== wanted) throw new Error(`by the test command ${commit} is not ${wanted}`);
        }

        let said = await $`git bisect start ${to} ${from}`.text();
        for (;;) {
          const [, commit] = /^([0-9a-f]{40,}) is the first bad commit$/m.exec(said) ?? [];
          if (commit) {
            const subject = await $`git log -1 --format=%s ${commit}`.text();
            log(`the first bad commit is ${commit}: ${subject}`);
            return { commit, subject };
          }
          said = await $`git bisect ${await verdict()}`.text();
        }
      },
    }),
  }),
});
