// What rounds are counted by.
import type { FaultKind } from "./plan.ts";

export class Figures {
  rounds = 0;
  attempts = 0;
  /** Attempts that a keeper took with it: they end as lost, and are tried again. */
  attemptsLost = 0;
  readonly faults = new Map<FaultKind, number>();
  bytes = 0;
  lostBytes = 0;
  lostExits = 0;
  repeatedBytes = 0;
  repeatedExits = 0;
  left = 0;
  /** One sentence for each thing that was not as it must be. */
  readonly problems: string[] = [];
  /** Where there are any: what the processes said, for a person who looks for the reason. */
  readonly words: string[] = [];

  wrong(problem: string): void {
    this.problems.push(problem);
  }

  fault(kind: FaultKind): void {
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
  }

  add(other: Figures): void {
    for (const name of [
      "rounds",
      "attempts",
      "attemptsLost",
      "bytes",
      "lostBytes",
      "lostExits",
      "repeatedBytes",
      "repeatedExits",
      "left",
    ] as const)
      this[name] += other[name];
    for (const [kind, count] of other.faults) this.faults.set(kind, (this.faults.get(kind) ?? 0) + count);
    this.problems.push(...other.problems);
  }

  toString(): string {
    const faults = [...this.faults].sort(([a], [b]) => a.localeCompare(b));
    const count = faults.reduce((sum, [, one]) => sum + one, 0);
    return [
      `${this.rounds} rounds, ${this.attempts} attempts (${this.attemptsLost} lost with their keeper), ${count} faults:`,
      `  ${faults.map(([kind, one]) => `${kind} ${one}`).join(", ")}`,
      `${this.bytes} bytes compared: lost ${this.lostBytes} bytes and ${this.lostExits} exits,`,
      `  repeated ${this.repeatedBytes} bytes and ${this.repeatedExits} exits, left behind ${this.left}, problems ${this.problems.length}`,
    ].join("\n");
  }
}
