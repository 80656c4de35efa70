// The log of a job that a function drives: what its commands write comes in several journals, each of them proven by its
// own exit, and is put together here as it arrives. drive.ts writes it.
import { type DataStream, encodeChunk, encodeControl, STDERR, STDOUT } from "../protocol/chunk.ts";
import { SortieError } from "../protocol/errors.ts";
import type { Exit } from "../protocol/exit.ts";
import { OutputTally } from "../protocol/hash.ts";
import { limits } from "../protocol/limits.ts";
import type { JournalControl } from "../protocol/messages.ts";
import { createLog, type LogWriter } from "./store/log.ts";

export class JobLog {
  readonly #log: LogWriter;
  readonly #tally = new OutputTally();
  #last: Promise<void> = Promise.resolve();
  #markedAt = 0;
  #ended = false;

  constructor(path: string) {
    this.#log = createLog(path);
  }

  /** Resolves once it is stored; rejects with STORE_FAILED. */
  output(stream: "stdout" | "stderr", bytes: Uint8Array, at: number): Promise<void> {
    const code: DataStream = stream === "stdout" ? STDOUT : STDERR;
    return this.#write(() => {
      this.#tally.add(code, bytes);
      const chunk = encodeChunk(code, bytes);
      // The distance: a clock that was set back would end the marks for as long.
      if (Math.abs(at - this.#markedAt) < limits.markEveryMs) return chunk;
      this.#markedAt = at;
      return Buffer.concat([encodeControl({ type: "mark", at }), chunk]);
    });
  }

  control(message: JournalControl): Promise<void> {
    return this.#write(() => encodeControl(message));
  }

  /** Ends the log. The exit that it ends with, which is given, counts what stands in this log. */
  async end(exit: Exit): Promise<Exit> {
    await this.#last;
    const whole: Exit = { ...exit, bytes: { ...this.#tally.bytes }, hash: this.#tally.hash() };
    const written = this.control(whole);
    this.#ended = true;
    await written;
    return whole;
  }

  async close(): Promise<void> {
    this.#ended = true;
    await this.#last.catch(() => {});
    this.#log.close();
  }

  /** One after the other; once one has failed, so do all behind it. */
  #write(bytes: () => Uint8Array): Promise<void> {
    // Nothing stands behind an exit.
    if (this.#ended) return Promise.reject(new SortieError("INTERRUPTED", "The job is over, and its log with it."));
    this.#last = this.#last.then(() => this.#log.write(bytes()));
    return this.#last;
  }
}
