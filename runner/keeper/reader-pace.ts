// Keeps readers from slowing a busy job: while it writes fast, all its readers together get a bounded share, and catch
// up afterwards. What they cost, at the network's side, is many times what the job itself costs. The owner never waits.
import { limits } from "../../protocol/limits.ts";

const TICK_MS = 100;

export interface ReaderPace {
  /** Resolves when a reader may have so many bytes. */
  turn(bytes: number): Promise<void>;
  /** Lets everybody through: the job is over. */
  end(): void;
}

/** `end`: how much the job has written so far. */
export function readerPace(end: () => number): ReaderPace {
  let over = false;
  let before = end();
  let spent = 0;
  let busy = false;
  let timer: NodeJS.Timeout | undefined;
  const waiting: (() => void)[] = [];

  function tick(): void {
    busy = !over && end() - before > (limits.readersYieldAbove * TICK_MS) / 1_000;
    before = end();
    // Idle, it needs no clock.
    if (!busy && spent === 0) stop();
    spent = 0;
    for (const resolve of waiting.splice(0)) resolve();
  }

  function stop(): void {
    clearInterval(timer);
    timer = undefined;
  }

  return {
    async turn(bytes) {
      if (over) return;
      if (!timer) {
        before = end();
        timer = setInterval(tick, TICK_MS).unref();
      }
      while (busy && spent >= (limits.readersBytesPerSecond * TICK_MS) / 1_000)
        await new Promise<void>((resolve) => waiting.push(resolve));
      spent += bytes;
    },
    end() {
      over = true;
      busy = false;
      stop();
      for (const resolve of waiting.splice(0)) resolve();
    },
  };
}
