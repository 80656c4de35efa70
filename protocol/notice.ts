// Tells one waiting loop that something has changed: what is told while it is at work is not missed, however often.

export interface Notice {
  readonly tell: () => void;
  /** Resolves once it was told since the last time, or after so many milliseconds. */
  next(withinMs?: number): Promise<void>;
}

export function createNotice(): Notice {
  let told = false;
  let wake: (() => void) | undefined;
  return {
    tell() {
      if (wake) wake();
      else told = true;
    },
    next(withinMs) {
      return new Promise((resolve) => {
        const timer = withinMs === undefined || told ? undefined : setTimeout(() => wake?.(), withinMs);
        wake = () => {
          clearTimeout(timer);
          wake = undefined;
          told = false;
          resolve();
        };
        if (told) wake();
      });
    },
  };
}
