// A line of the audit for a person's terminal: `runner audit` shows it.
import type { AuditEvent } from "../protocol/audit.ts";
import { oneLine } from "../protocol/text.ts";
import type { ReadLine } from "./keeper/audit/read.ts";

/** One line, harmless whatever others wrote into it. */
export function describeLine({ text, line }: ReadLine): string {
  if (!line) return oneLine(`(no line of an audit) ${text}`);
  return oneLine(`${line.at}  ${describe(line.event)}`);
}

const list = (wants: readonly { readonly kind: string; readonly value: string }[], more = 0): string =>
  [
    ...wants.map(({ kind, value }) => (value === "" ? kind : `${kind}=${value}`)),
    ...(more > 0 ? [`${more} more`] : []),
  ].join(" ");
const who = ({ peer, name }: { readonly peer: string; readonly name: string }): string =>
  name === peer ? peer : `${name} (${peer.slice(-8)})`;

function describe(event: AuditEvent): string {
  switch (event.type) {
    case "job-allowed": {
      const signed = event.signedBy === undefined ? "" : `, signed by ${event.signedBy}`;
      return `allowed ${event.job} (${event.attemptId}) of ${who(event)}: ${list(event.wants, event.more)}; by ${event.rule}${signed}`;
    }
    case "job-ended": {
      const how = event.signal ?? event.code ?? "no code";
      return `ended   ${event.job} (${event.attemptId}): ${event.reason} ${how}, ${event.bytes.stdout + event.bytes.stderr} bytes, ${event.durationMs} ms`;
    }
    case "refused": {
      const about = event.job === undefined ? (event.attemptId ?? "") : `${event.job} (${event.attemptId ?? ""})`;
      return `refused ${who(event)} ${event.operation} ${about}: ${event.code}: ${event.message}${event.rule === undefined ? "" : `; by ${event.rule}`}`;
    }
    case "paired":
      return `paired with ${event.name} (${event.peer})`;
    case "pairing-refused":
      return `refused to pair with ${event.peer} at ${event.host}: ${event.reason}`;
    case "trust-removed":
      return `no longer trusts ${event.peer}`;
    case "key-changed":
      return `${event.name} has another key: ${event.peer}, before ${event.before}`;
    case "stranger":
      return `turned away ${event.peer} at ${event.host}: not trusted`;
    case "counted":
      return `${event.count} more of the kind "${event.of}"${event.peer === undefined ? "" : ` of ${event.peer}`}, not listed`;
    case "runner-started":
      return `the runner ${event.name} started, version ${event.version}; ${event.grants}`;
    case "keeper-started":
      return `the keeper started, process ${event.pid}, version ${event.version}`;
    case "file":
      return `a new file; kept from line ${event.oldest} on`;
    case "torn":
      return `a crash left ${event.bytes} bytes of a line (SHA-256 ${event.sha256})`;
    case "broken":
      return `BROKEN: ${event.file}: ${event.what}`;
    case "not-written":
      return `${event.count} lines could not be written`;
  }
}
