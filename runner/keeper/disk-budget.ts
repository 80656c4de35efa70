// What all journals of a keeper share: how much of the disk and of the memory they take, and who can give some back.
import { messageOf } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { JournalLimits } from "../../protocol/messages.ts";

export interface DiskBudget {
  limits: JournalLimits;
  /** Bytes on the disk. */
  readonly used: number;
  readonly segmentBytes: number;
  /** Whether journals should hold no more than they must. */
  readonly memoryIsShort: boolean;
  /** Told of every byte that comes to the disk, or goes. */
  onDisk(change: number): void;
  /** Told of every byte that comes to the memory, or goes. */
  hold(change: number): void;
  /** Removes what is kept only for later readers, the oldest first, until there is room. */
  makeRoom(): void;
  /** A write failed. */
  failed(error: unknown): void;
  /** The limits, for a person. */
  describe(): string;
}

export const defaultJournalLimits: JournalLimits = {
  job: limits.journalBytes,
  all: limits.journalsBytes,
  keptMs: limits.journalKeptMs,
};

export function diskBudget(makeRoom: () => void, log: (line: string) => void): DiskBudget {
  let held = 0;
  let used = 0;
  let told = "";
  let nextLook = 0;
  return {
    limits: defaultJournalLimits,
    get used() {
      return used;
    },
    get segmentBytes() {
      // Several segments make a journal, so that acknowledged ones can go.
      return Math.min(limits.segmentBytes, Math.ceil(this.limits.job / 8));
    },
    get memoryIsShort() {
      return held >= limits.journalsMemoryBytes;
    },
    onDisk(change) {
      used += change;
    },
    hold(change) {
      held += change;
    },
    makeRoom() {
      // Asked for each chunk that finds none: where nothing could go, the next look is later.
      if (performance.now() < nextLook) return;
      const before = used;
      makeRoom();
      if (used === before) nextLook = performance.now() + limits.journalRetryMs;
    },
    failed(error) {
      const message = messageOf(error);
      if (message !== told) log(`a journal cannot be written: ${message}`);
      told = message;
    },
    describe() {
      return `${this.limits.job} bytes for one job, ${this.limits.all} for all`;
    },
  };
}
