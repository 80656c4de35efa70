// Whether a coordinator that lived through a run told every byte and every end of it once: its JSON events.
import type { Figures } from "./figures.ts";
import { outputOf } from "./output.ts";
import type { RoundPlan } from "./plan.ts";

interface Event {
  readonly type: string;
  readonly job?: string;
  readonly stream?: "stdout" | "stderr";
  readonly text?: string;
  readonly base64?: string;
}

export function checkEvents(lines: string, plan: RoundPlan, figures: Figures): void {
  const events = lines
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Event);
  const count = (type: string, job?: string): number =>
    events.filter((event) => event.type === type && event.job === job).length;
  if (count("run-ended") !== 1) figures.wrong(`the run's end was told ${count("run-ended")} times`);
  for (const { name, seed } of plan.jobs) {
    const output = outputOf(seed);
    if (count("job-ended", name) !== 1) figures.wrong(`the end of ${name} was told ${count("job-ended", name)} times`);
    for (const stream of ["stdout", "stderr"] as const) {
      const told = Buffer.concat(
        events
          .filter((event) => event.type === "job-output" && event.job === name && event.stream === stream)
          .map(({ text, base64 }) => (base64 === undefined ? Buffer.from(text ?? "") : Buffer.from(base64, "base64"))),
      );
      figures.bytes += told.length;
      if (!told.equals(output[stream]))
        figures.wrong(`the events of ${name} have ${told.length} bytes of ${stream}, not its ${output[stream].length}`);
    }
  }
}
