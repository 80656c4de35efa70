// Ends connections whose peer has vanished without a word: a cable that was pulled closes no socket, and TCP itself
// notices after many minutes, or never. yamux pings, so a living peer is heard; node.ts puts this around the muxer.
import type { StreamMuxer } from "@libp2p/interface";
import { SortieError } from "./errors.ts";
import { type MakeMuxers, type MuxedConnection, withMuxer } from "./muxer.ts";

/** Looks in this time. */
const LOOKS = 5;

/** What of a muxer is used here. */
interface Inner {
  onData?: (bytes: never) => void;
}

/** The muxer, but its connection ends when nothing came over it for `silenceMs`. */
export const endSilent = <Components>(silenceMs: number, make: MakeMuxers<Components>): MakeMuxers<Components> =>
  withMuxer(make, (muxer, connection) => watch(muxer, connection, silenceMs));

function watch(muxer: StreamMuxer, connection: MuxedConnection, silenceMs: number): void {
  const inner = muxer as unknown as Inner;
  const { onData } = inner;
  if (!onData) throw new Error("The muxer cannot be listened to.");
  const every = silenceMs / LOOKS;
  let quiet = 0;
  let lookedAt = performance.now();
  inner.onData = (bytes) => {
    quiet = 0;
    onData.call(muxer, bytes);
  };
  const timer = setInterval(() => {
    if (connection.status !== "open") return clearInterval(timer);
    const now = performance.now();
    // This process itself was held up, or stopped for a while: what came meanwhile is read first.
    const heldUp = now - lookedAt > 2 * every;
    lookedAt = now;
    if (heldUp) return;
    quiet += every;
    if (quiet < silenceMs) return;
    clearInterval(timer);
    connection.abort(new SortieError("CONNECTION_LOST", `Nothing was heard for ${silenceMs / 1_000} s`));
  }, every);
  timer.unref();
}
