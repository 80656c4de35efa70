// What went wrong with a dial or a stream of libp2p, in the errors of this project: for node.ts, and for those who follow a peer by it.
import { messageOf, SortieError } from "./errors.ts";

/** Whether somebody else than the one that was dialled has answered. libp2p compares the two, and has this error for it alone. */
export function isOtherPeer(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const inner = error instanceof AggregateError ? error.errors : [];
  return error.name === "EncryptionFailedError" || [error.cause, ...inner].some(isOtherPeer);
}

/** Whether this side, or the other one, has as many streams of the connection as it may. */
export const isOneTooMany = (error: unknown): boolean =>
  error instanceof Error && ["TooManyOutboundProtocolStreamsError", "StreamResetError"].includes(error.name);

/** Whether nothing but its time has ended it. */
export const isLate = (error: unknown): boolean =>
  error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);

export function unreachable(peer: string, addresses: readonly string[], error: unknown): SortieError {
  if (error instanceof SortieError) return error;
  const where = addresses.map((address) => address.replace(/\/p2p\/.*/, "")).join(", ") || "no address";
  return new SortieError(
    "RUNNER_UNREACHABLE",
    `No connection to ${peer === "" ? "anybody" : `the peer …${peer.slice(-8)}`} at ${where}: ${reasonOf(error)}.`,
    { cause: error },
  );
}

/** libp2p wraps what happened at each address into an AggregateError. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return [...new Set(error.errors.map(reasonOf))].join("; ");
  // Only its time ends a dial: at an address that answers nothing, most often behind a firewall.
  if (isLate(error)) return "no answer in time";
  return messageOf(error).replace(/\.$/, "");
}
