/** Fan out: a hundred small jobs, and one that needs them all. */
import { job, recipe, sh } from "sortie";

const parts = Array.from({ length: 100 }, (_, index) => job({ run: sh`echo part ${index + 1}` }));

const join = job({ needs: parts, run: ["echo", `${parts.length} parts are done`] });

export default recipe({
  ...Object.fromEntries(parts.map((part, index) => [`part-${index + 1}`, part])),
  join,
});
