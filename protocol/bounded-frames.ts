// Bounds what a connection's muxer holds: yamux collects a whole frame before it looks at the window, so a peer that
// announces a frame of four gibibytes and goes on sending would fill the memory; and what is answered to a peer that
// does not read (to its pings, say) waits without an end. node.ts puts it around the muxer.
import type { StreamMuxer } from "@libp2p/interface";
import type { Uint8ArrayList } from "uint8arraylist";
import { limits } from "./limits.ts";
import { type MakeMuxers, type MuxedConnection, withMuxer } from "./muxer.ts";

/** A yamux header; see the specification at https://github.com/libp2p/specs/tree/master/yamux */
const HEADER_BYTES = 12;

/** What of a yamux muxer is used here. */
interface Inner {
  onData?: (bytes: Uint8Array | Uint8ArrayList) => void;
  readonly decoder?: { readonly buffer?: Uint8ArrayList };
}

/** The muxer, but a connection ends whose peer sends a frame longer than `limits.frameBytes`, or leaves too much unread. */
export const boundedFrames = <Components>(unsentBytes: number, make: MakeMuxers<Components>): MakeMuxers<Components> =>
  withMuxer(make, (muxer, connection) => bound(muxer, connection, unsentBytes));

function bound(muxer: StreamMuxer, connection: MuxedConnection, unsentBytes: number): void {
  const inner = muxer as unknown as Inner;
  const { onData, decoder } = inner;
  const buffer = decoder?.buffer;
  // Another yamux than the one this was written for: no connection is better than an unbounded one.
  if (!onData || typeof buffer?.byteLength !== "number") throw new Error("The muxer's frames cannot be bounded.");
  inner.onData = (bytes) => {
    onData.call(muxer, bytes);
    // The muxer's own caller ends the connection for what is thrown here.
    if (buffer.byteLength > HEADER_BYTES + limits.frameBytes)
      throw new Error(`A frame of more than ${limits.frameBytes} bytes.`);
    if (connection.writeBufferLength > unsentBytes)
      throw new Error(`More than ${unsentBytes} bytes wait for a peer that does not read.`);
  };
}
