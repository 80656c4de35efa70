/** Hello: two jobs side by side, and one that needs both. */
import { job, recipe, sh } from "sortie";

const name = "Sortie";

const greet = job({
  run: sh`echo ${`Hello from ${name}!`}; sleep 1; echo "I ran as $SORTIE_JOB of run $SORTIE_RUN."`,
});

const count = job({
  run: "for i in 1 2 3; do echo $i of 3; sleep 0.3; done; echo 'This line went to stderr.' >&2",
});

const goodbye = job({
  needs: [greet, count],
  run: ["echo", "Both have passed, so I may run. Goodbye!"],
});

export default recipe({ greet, count, goodbye });
