// BLAKE3 of the two outputs of a job: kept by the keeper as it journals and by the coordinator as it stores, so that a
// log can be shown to be whole. Native, about 8 GB/s.
import { Blake3Hasher } from "@napi-rs/blake-hash";
import { type DataStream, STDOUT } from "./chunk.ts";

/** What a journal or a log holds of each output so far. */
export class OutputTally {
  readonly bytes = { stdout: 0, stderr: 0 };
  readonly #hashers = { stdout: new Blake3Hasher(), stderr: new Blake3Hasher() };

  add(stream: DataStream, payload: Uint8Array): void {
    const name = stream === STDOUT ? "stdout" : "stderr";
    this.bytes[name] += payload.length;
    this.#hashers[name].update(Buffer.from(payload.buffer, payload.byteOffset, payload.length));
  }

  /** Hexadecimal, of everything added so far. */
  hash(): { stdout: string; stderr: string } {
    return { stdout: this.#hashers.stdout.digest("hex"), stderr: this.#hashers.stderr.digest("hex") };
  }
}
