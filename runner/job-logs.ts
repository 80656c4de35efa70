// What a job wrote, as text: /job/logs decodes the journal for callers that want no chunks. A call gives a bounded
// part, because the receiver of a subscription cannot slow its sender down.
import * as v from "valibot";
import { ChunkDecoder, encodeControl, STDOUT } from "../protocol/chunk.ts";
import { SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { callRaw } from "../protocol/make-call.ts";
import { type InputOf, type JobLogsOutput, JournalControl } from "../protocol/messages.ts";
import type { KeeperLink } from "./keeper/keeper-link.ts";

/**
 * Text from the offset on, until `limits.logsBytes`, the exit, or, unless it follows, the end so far. Offsets lie
 * between two chunks, and a character that was cut by one is replaced.
 */
export async function* jobLogs(
  keeper: KeeperLink,
  owner: string,
  { attemptId, offset, follow }: InputOf<"/job/logs">,
  left: AbortSignal,
): AsyncGenerator<JobLogsOutput, void, undefined> {
  const input = { owner, attemptId, offset, control: false, window: limits.windowMinimum, holder: "" };
  const carriage = await callRaw(await keeper.open(), "/keeper/attach", input);
  const leave = (): void => carriage.abort(new SortieError("CONNECTION_LOST", "The caller left."));
  left.addEventListener("abort", leave, { once: true });
  if (left.aborted) leave();
  const { offset: begin, end } = carriage.output;
  const until = follow ? Number.POSITIVE_INFINITY : end;
  const decoder = new ChunkDecoder();
  const texts = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  let at = 0;
  let given = 0;
  /** Of a chunk that is not whole yet. */
  let text = "";
  try {
    while (begin + decoder.offset < until && given < limits.logsBytes) {
      const bytes = await carriage.read();
      if (!bytes) return;
      for (const part of decoder.push(bytes)) {
        if (part.kind === "control") {
          const message = v.parse(JournalControl, part.json);
          if ("at" in message) at = message.at;
          if (message.type === "exit") return;
          continue;
        }
        const stream = part.stream === STDOUT ? "stdout" : "stderr";
        text += texts[stream].decode(part.payload, { stream: true });
        given += part.payload.length;
        if (!decoder.atBoundary) continue;
        if (text !== "") yield { stream, text, at, offset: begin + decoder.offset };
        text = "";
      }
      await carriage.write(encodeControl({ type: "ack", offset: begin + decoder.offset }));
    }
  } finally {
    left.removeEventListener("abort", leave);
    leave();
  }
}
