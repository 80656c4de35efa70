// Puts something around each connection's muxer: bounded-frames.ts, silence.ts and turns.ts do.
import type { StreamMuxer, StreamMuxerFactory } from "@libp2p/interface";

export type MakeMuxers<Components> = (components: Components) => StreamMuxerFactory;
export type MuxedConnection = Parameters<StreamMuxerFactory["createStreamMuxer"]>[0];

/** The same muxers, but `change` sees each with its connection before anything comes over it. */
export function withMuxer<Components>(
  make: MakeMuxers<Components>,
  change: (muxer: StreamMuxer, connection: MuxedConnection) => void,
): MakeMuxers<Components> {
  return (components) => {
    const factory = make(components);
    const create = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const muxer = create(connection);
      change(muxer, connection);
      return muxer;
    };
    return factory;
  };
}
