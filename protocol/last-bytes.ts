// The end of what somebody wrote, for messages: of a command, of a job.

/** The last `most` bytes of what came before and what came now; a copy, so that it holds on to nothing larger. */
export function lastBytes(before: Uint8Array, now: Uint8Array, most: number): Buffer<ArrayBuffer> {
  return Buffer.from(Buffer.concat([before, now.subarray(-most)]).subarray(-most));
}
