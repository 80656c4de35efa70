// Events without secrets, for all who read them: the record, views, reports, and those who are notified. A runner has taken
// them out of what its jobs print; what a coordinator says itself comes through here, and what a runner failed to do.

import type { JobName } from "../protocol/ids.ts";
import type { RedactedStream } from "../protocol/redact.ts";
import { redactExit } from "../protocol/redact-exit.ts";
import type { RunEvent } from "./events.ts";
import type { Secrets } from "./secrets.ts";

type OutputEvent = RunEvent & { readonly type: "job-output" };

/**
 * Gives what is to be told in place of an event. What an output ends with and may be the beginning of a secret is told with what
 * follows, and at the latest before the job's attempt is over. Names, which say what belongs together, stay.
 */
export function redactedEvents(secrets: Pick<Secrets, "redaction">): (event: RunEvent) => readonly RunEvent[] {
  const outputs = new Map<JobName, Map<OutputEvent["stream"], RedactedStream>>();

  function output(event: OutputEvent): RunEvent[] {
    const { job, stream, bytes } = event;
    const redaction = secrets.redaction;
    let streams = outputs.get(job);
    if (!streams) {
      streams = new Map();
      outputs.set(job, streams);
    }
    let redacted = streams.get(stream);
    if (!redacted && redaction) {
      redacted = redaction.stream();
      streams.set(stream, redacted);
    }
    const shown = redacted ? redacted.push(bytes) : bytes;
    return shown.length === 0 ? [] : [shown === bytes ? event : { ...event, bytes: shown }];
  }

  /** What was held back of an attempt that is over. */
  function rest(job: JobName, at: number): RunEvent[] {
    const streams = outputs.get(job);
    outputs.delete(job);
    return [...(streams ?? [])].flatMap(([stream, redacted]): RunEvent[] => {
      const bytes = redacted.end();
      return bytes.length === 0 ? [] : [{ type: "job-output", at, job, stream, bytes }];
    });
  }

  return (event) => {
    const { redaction } = secrets;
    if (!redaction) return [event];
    if (event.type === "job-output") return output(event);
    const told = {
      ...event,
      ...("message" in event && event.message !== undefined ? { message: redaction.text(event.message) } : {}),
      ...("text" in event ? { text: redaction.text(event.text) } : {}),
      ...("question" in event ? { question: redaction.text(event.question) } : {}),
      ...("gap" in event && event.gap !== undefined ? { gap: redaction.text(event.gap) } : {}),
      ...("output" in event && event.output !== undefined ? { output: redaction.value(event.output) } : {}),
      ...("exit" in event && event.exit ? { exit: redactExit(event.exit, redaction) } : {}),
    } as RunEvent;
    const isOver = event.type === "job-ended" || event.type === "job-retrying" || event.type === "job-returned";
    return isOver ? [...rest(event.job, event.at), told] : [told];
  };
}
