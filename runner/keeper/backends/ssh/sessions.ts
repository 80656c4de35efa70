// The sessions of one host: each is a command's channel, on as few connections as the server's MaxSessions allows. How
// many that is no server tells; it is learned from what it refuses. Connections are opened one at a time (MaxStartups).
import { setTimeout as delay } from "node:timers/promises";
import type { Client, ClientChannel } from "ssh2";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { Refused } from "../backend.ts";
import { type Connection, connectWay, describeHop } from "./connect.ts";
import type { Way } from "./target.ts";
import { unless } from "./unless.ts";

export interface Session {
  readonly channel: ClientChannel;
  readonly client: Client;
  /** Why the connection is gone. */
  readonly gone: Promise<string>;
}

/** A server frees a session when it has seen our side of its close, and may look at the next request before. */
const LEAVING_MS = 20;

/** Instead of the limits, for tests. */
export interface HostTimes {
  readonly idleMs: number;
  readonly reconnectMs: number;
  readonly answerMs: number;
  readonly startMs: number;
}

export interface HostSessions {
  /** `user@host`, for messages. */
  readonly name: string;
  /** For so long a host whose connection was lost is looked for. */
  readonly reconnectMs: number;
  /** For so long a command may take to be started. */
  readonly startMs: number;
  /** It has no connection, and makes none. */
  empty(): boolean;
  /** Resolves once there is a connection. Rejects with Refused, or at once with the signal's reason. */
  ready(cancelled: AbortSignal): Promise<void>;
  /**
   * Runs a command, and counts its session until the channel is closed; waits while the host has none to give. Urgent
   * ones come first, and may have connections of their own: what ends a job must not wait for it. Rejects with Refused,
   * or at once with the signal's reason.
   */
  exec(command: string, cancelled: AbortSignal, urgent?: boolean): Promise<Session>;
  /** From close() on nothing can be had any more. */
  closed(): boolean;
  close(): Promise<void>;
}

interface Line {
  readonly connection: Connection;
  /** Sessions taken, also those that are only asked for: by number, in the order in which the server is asked. */
  readonly taken: Set<number>;
  /** Of those, the ones that the server did not answer yet. */
  unanswered: number;
  /** Closed a moment ago: the server may still count them. */
  leaving: number;
  /** As many as the server is known to give. */
  room: number;
  over: boolean;
  idle: NodeJS.Timeout | undefined;
}

/** A place on a line, and its number. */
type Taken = readonly [Line, number];

interface Waiting {
  readonly urgent: boolean;
  resolve(taken: Taken): void;
  reject(error: unknown): void;
}

/** `onEmpty` is told when its last connection is gone, or none could be made. */
export function hostSessions(
  way: Way,
  { idleMs, reconnectMs, answerMs, startMs }: HostTimes,
  onEmpty: () => void,
): HostSessions {
  const name = describeHop(way[way.length - 1] as (typeof way)[0]);
  const lines = new Set<Line>();
  const waiting: Waiting[] = [];
  let room: number = limits.sshSessions;
  let opening: Promise<void> | undefined;
  let notBefore = 0;
  let count = 0;
  let closed = false;
  const leaving = new AbortController();

  const empty = (): boolean => lines.size === 0 && opening === undefined && waiting.length === 0;

  function serve(): void {
    for (;;) {
      const [next] = waiting;
      if (!next) return;
      const free = [...lines].find((line) => !line.over && line.taken.size < line.room);
      if (!free) break;
      waiting.shift();
      clearTimeout(free.idle);
      free.taken.add(++count);
      next.resolve([free, count]);
    }
    const most = limits.sshConnections * (waiting[0]?.urgent ? 2 : 1);
    if (opening || lines.size >= most || performance.now() < notBefore) return;
    opening = open().finally(() => {
      opening = undefined;
      serve();
      if (empty()) onEmpty();
    });
  }

  async function open(): Promise<void> {
    try {
      const connection = await connectWay(way, leaving.signal);
      if (closed) return await connection.close();
      connection.client.setMaxListeners(0);
      const line: Line = {
        connection,
        taken: new Set(),
        unanswered: 0,
        leaving: 0,
        room,
        over: false,
        idle: undefined,
      };
      lines.add(line);
      void connection.gone.then(() => drop(line));
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
    if (empty()) onEmpty();
  }

  function release([line, number]: Taken): void {
    line.taken.delete(number);
    rest(line);
    serve();
  }

  /** Of a session that was there. */
  function leave(taken: Taken): void {
    const [line] = taken;
    line.leaving++;
    setTimeout(() => line.leaving--, LEAVING_MS).unref();
    release(taken);
  }

  function rest(line: Line): void {
    if (line.taken.size > 0 || line.over) return;
    line.idle = setTimeout(() => {
      line.over = true;
      void line.connection.close();
    }, idleMs).unref();
  }

  async function acquire(urgent: boolean, cancelled: AbortSignal): Promise<Taken> {
    cancelled.throwIfAborted();
    if (closed) throw new Refused("host", "the runner is leaving");
    const { promise, resolve, reject } = Promise.withResolvers<Taken>();
    const mine: Waiting = { urgent, resolve, reject };
    const leave = (): void => {
      const at = waiting.indexOf(mine);
      if (at !== -1) waiting.splice(at, 1);
      reject(cancelled.reason);
    };
    cancelled.addEventListener("abort", leave, { once: true });
    const at = urgent ? waiting.findIndex((each) => !each.urgent) : -1;
    waiting.splice(at === -1 ? waiting.length : at, 0, mine);
    serve();
    try {
      return await promise;
    } finally {
      cancelled.removeEventListener("abort", leave);
    }
  }

  /** The server's answer. Where it comes too late for us, its session is closed, and ours until then. */
  async function ask(taken: Taken, command: string, cancelled: AbortSignal): Promise<ClientChannel> {
    const [line] = taken;
    const { client } = line.connection;
    const given = new AbortController();
    line.unanswered++;
    const asked = execOn(client, command).finally(() => {
      line.unanswered--;
      clearTimeout(timer);
    });
    const timer = setTimeout(() => {
      if (line.unanswered < line.taken.size)
        return given.abort(new Refused("host", `${name} did not answer within ${answerMs / 1000} s`));
      // Nobody else has anything of this connection: another one is tried.
      line.over = true;
      client.destroy();
    }, answerMs).unref();
    const gaveUp = AbortSignal.any([cancelled, given.signal]);
    try {
      return await unless(gaveUp, asked);
    } catch (error) {
      if (!gaveUp.aborted) throw error;
      const discard = (channel: ClientChannel): void => {
        channel.once("close", () => leave(taken));
        channel.resume();
        channel.stderr.resume();
        channel.close();
      };
      asked.then(discard, () => release(taken));
      throw new GaveUp(gaveUp.reason);
    }
  }

  return {
    name,
    reconnectMs,
    startMs,
    empty,
    async ready(cancelled) {
      if ([...lines].some((line) => !line.over)) return;
      release(await acquire(false, cancelled));
    },
    async exec(command, cancelled, urgent = false) {
      let failures = 0;
      for (;;) {
        const taken = await acquire(urgent, cancelled);
        const [line, number] = taken;
        const { client, gone } = line.connection;
        const { leaving: before } = line;
        try {
          const channel = await ask(taken, command, cancelled);
          channel.once("close", () => leave(taken));
          return { channel, client, gone };
        } catch (error) {
          if (error instanceof GaveUp) throw error.reason;
          const refused = typeof (error as { reason?: unknown }).reason === "number";
          const broken = /^(Not connected|No response)/.test((error as Error).message);
          // The server answers in order: those asked for before this one, and not refused, are what it gives. A busy one
          // answers late, and counts those that were leaving when it was asked.
          const given = [...line.taken].filter((other) => other < number).length + Math.max(before, line.leaving);
          const learned = refused && given > 0 && given < line.room;
          if (learned) room = line.room = given;
          if (given === 0 || !refused) failures++;
          if (broken) {
            line.over = true;
            client.destroy();
          }
          release(taken);
          if (failures >= limits.sshTries)
            throw new Refused("host", `${name} runs no command: ${oneLine((error as Error).message)}`);
          if (!learned && !broken) await delay(given === 0 ? limits.sshRetryMs / 10 : LEAVING_MS);
        }
      }
    },
    closed: () => closed,
    async close() {
      closed = true;
      leaving.abort();
      for (const each of waiting.splice(0)) each.reject(new Refused("host", "the runner is leaving"));
      await opening;
      await Promise.all([...lines].map(({ connection }) => connection.close()));
    },
  };
}

/** What still comes of the request is seen to. */
class GaveUp {
  readonly reason: unknown;
  constructor(reason: unknown) {
    this.reason = reason;
  }
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
