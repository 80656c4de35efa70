// The network between a coordinator and its runner: passes bytes on, and can be cut, frozen and thawed.
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

export interface CuttingProxy {
  readonly port: number;
  /** Connections under way. */
  readonly open: number;
  /** Ends every connection at once, on both sides. */
  cut(): void;
  /** Nothing passes any more, and nothing is closed; a new connection is taken, and answered by nobody. */
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

interface Link {
  freeze(): void;
  thaw(): void;
  cut(): void;
}

/** Listens on a free port of this machine, and passes on to the other one. */
export async function openProxy(target: () => number): Promise<CuttingProxy> {
  const links = new Set<Link>();
  let frozen = false;
  const server: Server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) => {
    const link = join(near, target, frozen, () => links.delete(link));
    links.add(link);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get open() {
      return links.size;
    },
    cut() {
      for (const link of [...links]) link.cut();
    },
    freeze() {
      frozen = true;
      for (const link of links) link.freeze();
    },
    thaw() {
      frozen = false;
      for (const link of [...links]) link.thaw();
    },
    async close() {
      for (const link of [...links]) link.cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function join(near: Socket, target: () => number, begun: boolean, over: () => void): Link {
  let frozen = begun;
  let far: Socket | undefined;
  /** What one side learned of the other's end while nothing passed. */
  let gone = false;

  function cut(): void {
    near.destroy();
    far?.destroy();
    over();
  }

  function lost(): void {
    gone = true;
    if (!frozen) cut();
  }

  function pass(from: Socket, to: Socket): void {
    from.on("data", (bytes) => {
      if (!to.write(bytes)) from.pause();
    });
    to.on("drain", () => {
      if (!frozen) from.resume();
    });
    from.on("end", () => to.end());
  }

  function connected(): void {
    far = connect({ port: target(), host: "127.0.0.1", allowHalfOpen: true });
    far.on("error", lost).on("close", lost);
    pass(near, far);
    pass(far, near);
    near.resume();
  }

  near.on("error", lost).on("close", lost);
  if (!frozen) connected();
  return {
    cut,
    freeze() {
      frozen = true;
      near.pause();
      far?.pause();
    },
    thaw() {
      frozen = false;
      if (gone) return cut();
      if (!far) return connected();
      near.resume();
      far.resume();
    },
  };
}
