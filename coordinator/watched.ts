// What a run under `coordinator run --watch` tells the process that watches: which files it is made of, what there is to
// run, and the run's id. watch.ts is the other end.
import * as v from "valibot";
import { JobName, RunId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import type { Plan } from "./plan.ts";

/** Set for the process that conducts a run, and for nothing that it starts. */
export const MARK = "SORTIE_WATCHED";
/** Whether another process watches for changes, and runs this one anew. */
export const isWatched = process.env[MARK] === "1" && process.send !== undefined;
delete process.env[MARK];

export const Told = v.variant("type", [
  v.strictObject({ type: v.literal("imported"), file: v.string() }),
  v.strictObject({
    type: v.literal("planned"),
    jobs: v.array(
      v.strictObject({
        name: JobName,
        inputs: v.optional(v.pipe(v.array(v.string()), v.maxLength(limits.inputsPerJob))),
      }),
    ),
  }),
  v.strictObject({ type: v.literal("started"), run: RunId }),
]);
export type Told = v.InferOutput<typeof Told>;

/** A watcher that is gone is told nothing: the run goes on. */
const tell = (told: Told): void => void (process.connected && process.send?.(told, undefined, undefined, () => {}));

export const tellWatcher = {
  onImport: (file: string): void => tell({ type: "imported", file }),
  onPlanned: ({ jobs }: Plan): void =>
    tell({
      type: "planned",
      jobs: jobs.map(({ name, inputs }) => ({ name, ...(inputs ? { inputs: [...inputs] } : {}) })),
    }),
  onStarted: (run: RunId): void => tell({ type: "started", run }),
};
