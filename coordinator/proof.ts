// Whether everything a job wrote has arrived: counts and hashes of what came, against those that its exit carries.
import type { DataStream } from "../protocol/chunk.ts";
import type { Exit } from "../protocol/exit.ts";
import { OutputTally } from "../protocol/hash.ts";
import type { JournalControl } from "../protocol/messages.ts";

/** Of an output whose hash is another one. */
export const NOT_JOURNALED = "is not what the runner journaled";

export class Proof {
  readonly #tally = new OutputTally();
  readonly #dropped = { stdout: 0, stderr: 0 };
  #isWhole = true;

  output(stream: DataStream, payload: Uint8Array): void {
    this.#tally.add(stream, payload);
  }

  dropped({ stdout, stderr }: JournalControl & { readonly type: "dropped" }): void {
    this.#dropped.stdout += stdout;
    this.#dropped.stderr += stderr;
  }

  /** It does not begin with the journal's beginning: a hash, which is of a whole output, proves nothing then. */
  beginsLater(): void {
    this.#isWhole = false;
  }

  /** What is missing of the outputs by the exit's own account; `undefined` where nothing is. */
  gap(exit: Exit): string | undefined {
    const gaps: string[] = [];
    const hash = this.#tally.hash();
    for (const stream of ["stdout", "stderr"] as const) {
      const held = this.#tally.bytes[stream];
      if (held !== exit.bytes[stream]) {
        const why = held + this.#dropped[stream] === exit.bytes[stream] ? " (dropped at the runner's limit)" : "";
        gaps.push(`${stream} has ${held} of ${exit.bytes[stream]} bytes${why}`);
      }
      if (this.#isWhole && exit.hash && exit.hash[stream] !== hash[stream]) gaps.push(`${stream} ${NOT_JOURNALED}`);
    }
    return gaps.length === 0 ? undefined : gaps.join(", ");
  }
}
