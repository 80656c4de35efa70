// Bounds how many streams a peer has over all its connections: the muxer bounds those of one, and a stream costs memory
// before anybody knows what it is for. node.ts uses it.
import type { Connection, Stream } from "@libp2p/interface";
import type { Libp2p } from "libp2p";
import { SortieError } from "./errors.ts";

/** What of a connection's muxer is used here. */
interface Inner {
  readonly muxer?: { onRemoteStream?: (stream: Stream) => void };
}

export function boundStreams(node: Libp2p, most: number): void {
  node.addEventListener("connection:open", ({ detail: connection }: CustomEvent<Connection>) => {
    const { muxer } = connection as unknown as Inner;
    const { onRemoteStream } = muxer ?? {};
    // Another libp2p than the one this was written for: no connection is better than one without a bound.
    if (!muxer || !onRemoteStream) return connection.abort(new Error("The streams of this peer cannot be counted."));
    muxer.onRemoteStream = (stream) => {
      const open = node.getConnections(connection.remotePeer).reduce((sum, { streams }) => sum + streams.length, 0);
      if (open < most) onRemoteStream.call(muxer, stream);
      else stream.abort(new SortieError("TOO_MANY", `${open} streams of this peer are open.`));
    };
  });
}
