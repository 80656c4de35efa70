// The sessions of one host: each is a command's channel, on as few connections as the server's MaxSessions allows. How
// many that is no server tells; it is learned from what it refuses. Connections are opened one at a time (MaxStartups).
import type { Client, ClientChannel } from "ssh2";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { Refused } from "../backend.ts";
import { type Connection, connectWay, describeHop } from "./connect.ts";
import type { Way } from "./target.ts";

export interface Session {
  readonly channel: ClientChannel;
  readonly client: Client;
  /** Why the connection is gone. */
  readonly gone: Promise<string>;
}

/** Instead of the limits, for tests. */
export interface HostTimes {
  readonly idleMs: number;
  readonly reconnectMs: number;
}

export interface HostSessions {
  /** `user@host`, for messages. */
  readonly name: string;
  /** For so long a host whose connection was lost is looked for. */
  readonly reconnectMs: number;
  /** Resolves once there is a connection. Rejects with Refused. */
  ready(): Promise<void>;
  /**
   * Runs a command, and counts its session until the channel is closed; waits while the host has none to give. Urgent
   * ones come first, and may have connections of their own: what ends a job must not wait for it. Rejects with Refused.
   */
  exec(command: string, urgent?: boolean): Promise<Session>;
  close(): Promise<void>;
}

interface Line {
  readonly connection: Connection;
  /** Sessions asked for, and those of them that the server gave. */
  used: number;
  given: number;
  /** As many as the server is known to give. */
  room: number;
  over: boolean;
  idle: NodeJS.Timeout | undefined;
}

interface Waiting {
  readonly urgent: boolean;
  resolve(line: Line): void;
  reject(error: unknown): void;
}

export function hostSessions(way: Way, { idleMs, reconnectMs }: HostTimes): HostSessions {
  const name = describeHop(way[way.length - 1] as (typeof way)[0]);
  const lines = new Set<Line>();
  const waiting: Waiting[] = [];
  let room: number = limits.sshSessions;
  let opening: Promise<void> | undefined;
  let notBefore = 0;
  let closed = false;

  function serve(): void {
    for (;;) {
      const [next] = waiting;
      if (!next) return;
      const free = [...lines].find((line) => !line.over && line.used < line.room);
      if (!free) break;
      waiting.shift();
      take(free);
      next.resolve(free);
    }
    const most = limits.sshConnections * (waiting[0]?.urgent ? 2 : 1);
    if (opening || lines.size >= most || performance.now() < notBefore) return;
    opening = open().finally(() => {
      opening = undefined;
      serve();
    });
  }

  async function open(): Promise<void> {
    try {
      const connection = await connectWay(way);
      if (closed) return await connection.close();
      connection.client.setMaxListeners(0);
      const line: Line = { connection, used: 0, given: 0, room, over: false, idle: undefined };
      lines.add(line);
      connection.client.once("close", () => drop(line));
      rest(line);
    } catch (error) {
      // With others open it may be a limit of the server's: those that wait have sessions coming.
      if (lines.size > 0) {
        notBefore = performance.now() + limits.sshRetryMs;
        setTimeout(serve, limits.sshRetryMs + 1).unref();
      } else for (const each of waiting.splice(0)) each.reject(error);
    }
  }

  function drop(line: Line): void {
    line.over = true;
    clearTimeout(line.idle);
    lines.delete(line);
    serve();
  }

  function take(line: Line): void {
    line.used++;
    clearTimeout(line.idle);
  }

  function release(line: Line): void {
    line.used--;
    rest(line);
    serve();
  }

  function rest(line: Line): void {
    if (line.used > 0 || line.over) return;
    line.idle = setTimeout(() => {
      line.over = true;
      void line.connection.close();
    }, idleMs).unref();
  }

  const acquire = (urgent: boolean): Promise<Line> =>
    new Promise((resolve, reject) => {
      if (closed) return reject(new Refused("host", "the runner is leaving"));
      const at = urgent ? waiting.findIndex((each) => !each.urgent) : -1;
      waiting.splice(at === -1 ? waiting.length : at, 0, { urgent, resolve, reject });
      serve();
    });

  return {
    name,
    reconnectMs,
    async ready() {
      if ([...lines].some((line) => !line.over)) return;
      release(await acquire(false));
    },
    async exec(command, urgent = false) {
      let failures = 0;
      for (;;) {
        const line = await acquire(urgent);
        try {
          const channel = await execOn(line.connection.client, command);
          line.given++;
          channel.once("close", () => {
            line.given--;
            release(line);
          });
          return { channel, client: line.connection.client, gone: line.connection.gone };
        } catch (error) {
          const refused = typeof (error as { reason?: unknown }).reason === "number";
          // As many as it gave besides; where it gave none, the ones before may not be gone yet on its side.
          if (refused && line.given > 0) room = line.room = Math.min(line.room, line.given);
          else failures++;
          if (!refused) line.over = true;
          release(line);
          if (!refused) void line.connection.close();
          if (failures >= limits.sshTries)
            throw new Refused("host", `${name} runs no command: ${oneLine((error as Error).message)}`);
          if (refused && line.given === 0) await new Promise((resolve) => setTimeout(resolve, limits.sshRetryMs / 10));
        }
      }
    },
    async close() {
      closed = true;
      for (const each of waiting.splice(0)) each.reject(new Refused("host", "the runner is leaving"));
      await opening;
      await Promise.all([...lines].map(({ connection }) => connection.close()));
    },
  };
}

function execOn(client: Client, command: string): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    try {
      client.exec(command, (error, channel) => {
        if (error) return reject(error);
        channel.on("error", () => {});
        resolve(channel);
      });
    } catch (error) {
      reject(error);
    }
  });
}
