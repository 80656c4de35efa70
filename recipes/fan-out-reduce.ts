/** Fan out and reduce: counts the words of each file in a folder, a job for each, and adds them up. */
import { join } from "node:path";
import { job, recipe, sh } from "sortie";
import * as v from "valibot";

export default recipe({
  params: v.object({
    folder: v.optional(
      v.pipe(v.string(), v.description("absolute, on the runner")),
      join(import.meta.dirname, "../docs"),
    ),
    pattern: v.optional(v.pipe(v.string(), v.description("of the files' names, as find has it")), "*.md"),
  }),
  jobs: ({ folder, pattern }) => {
    /** Which files there are is known only now: its jobs join the run. */
    const count = job({
      cwd: folder,
      async run({ $ }) {
        const found = await $(["find", ".", "-type", "f", "-name", pattern]).text();
        const files = found.split("\n").filter(Boolean).sort();
        if (files.length === 0) throw new Error(`${folder} has no file ${pattern}.`);
        return Object.fromEntries(
          files.map((file, index) => [
            `${index + 1}-${file
              .slice(2)
              .replace(/[^\w.]+/g, "-")
              .slice(-60)}`,
            job({ cwd: folder, run: sh`wc -w < ${file}`, output: v.number() }),
          ]),
        );
      },
    });

    const total = job({
      needs: [count],
      run({ needs: [{ output: counts }], log }) {
        const words = Object.values(counts).map(({ output }) => output);
        const sum = words.reduce((all, one) => all + one, 0);
        log(`${words.length} files, ${sum} words, ${Math.max(...words)} in the longest`);
        return { files: words.length, words: sum };
      },
    });

    return { count, total };
  },
});
