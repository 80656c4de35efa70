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

/** An invite, or an address, by way of the proxy. */
export const through = (port: number, address: string): string => address.replace(/\/tcp\/\d+/, `/tcp/${port}`);

/** The port in an address. */
export const portOf = (address: string): number => Number(/\/tcp\/(\d+)/.exec(address)?.[1]);

/**
 * Listens on a free port of this machine, and passes on to the other one, at 127.0.0.1 unless another host is named.
 * `onPassed` is told how many bytes came from the side that connects, of all its connections.
 */
export async function openProxy(
  target: () => number,
  onPassed: (bytes: number, proxy: CuttingProxy) => void = () => {},
  host = "127.0.0.1",
): Promise<CuttingProxy> {
  let passed = 0;
  const count = (bytes: number): void => {
    passed += bytes;
    onPassed(passed, proxy);
  };
  const links = new Set<Link>();
  let frozen = false;
  const server: Server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) => {
    const link = join(near, target, { host, frozen, count, over: () => links.delete(link) });
    links.add(link);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy: CuttingProxy = {
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
  return proxy;
}

interface LinkOptions {
  readonly host: string;
  readonly frozen: boolean;
  count(bytes: number): void;
  over(): void;
}

function join(near: Socket, target: () => number, { host, frozen: begun, count, over }: LinkOptions): Link {
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
      if (from === near) count(bytes.length);
      if (!to.write(bytes)) from.pause();
    });
    to.on("drain", () => {
      if (!frozen) from.resume();
    });
    from.on("end", () => to.end());
  }

  function connected(): void {
    far = connect({ port: target(), host, allowHalfOpen: true });
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
