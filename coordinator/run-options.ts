// What a run is made with, besides its recipe: commands give it, run.ts and run-record.ts use it.
import type { RunId } from "../protocol/ids.ts";
import type { Answers } from "./answers.ts";
import type { EventReader } from "./events.ts";
import type { Plan } from "./plan.ts";
import type { Asked } from "./prepare.ts";
import type { Resumed } from "./resume.ts";
import type { Format } from "./views/index.ts";

export interface RunOptions extends Asked {
  readonly format: Format;
  /** Attempts under way at once, over all runners; default: as many as there are slots. */
  readonly jobs: number | undefined;
  /** Cancel the rest once a job failed; default: whatever does not need that job goes on. */
  readonly failFast?: boolean;
  /** To what jobs ask, given beforehand. */
  readonly answers: Answers;
  /** Use the embedded runner although others are known. */
  readonly local: boolean;
  /** A runner of which nothing is heard for so long is looked for anew; milliseconds. */
  readonly silenceMs: number;
  /** A file with the key that signs the jobs; default: the coordinator's own. */
  readonly signWith?: string | undefined;
  /** Aborted by the first Ctrl-C. */
  readonly cancelled: AbortSignal;
  /**
   * Given the function that ends what this process itself started, at once, and tells runners to cancel jobs that go on
   * although the run was cancelled: for the second Ctrl-C. What it gives is waited for.
   */
  readonly onKillable: (kill: () => Promise<void> | undefined) => void;
  /** Once it is known what is to run; also of a run that then cannot begin. */
  readonly onPlanned?: (plan: Plan) => void;
  /** Once the run is on record. */
  readonly onStarted?: (run: RunId) => void;
  /** Readers beside the view; closed after it. */
  readonly reports?: readonly EventReader[];
  /** The run that is gone on with. */
  readonly resumed?: Resumed;
}
