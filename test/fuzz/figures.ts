// What a fuzz run counts, and how it is told.

export type Answer = "accepted" | "refused" | "ended";

export class Figures {
  readonly problems: string[] = [];
  readonly cases = new Map<string, number>();
  readonly operations = new Map<string, Record<Answer, number>>();
  readonly codes = new Map<string, number>();
  honest = 0;
  slowestMs = 0;
  /** Cases after which something was wrong. */
  notHeld = 0;
  readonly notes: string[] = [];

  tried(kind: string): void {
    this.cases.set(kind, (this.cases.get(kind) ?? 0) + 1);
  }

  answered(operation: string, answer: Answer, code?: string): void {
    const counts = this.operations.get(operation) ?? { accepted: 0, refused: 0, ended: 0 };
    counts[answer]++;
    this.operations.set(operation, counts);
    if (code !== undefined) this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
  }

  problem(text: string): void {
    this.notHeld++;
    // The same one each time says nothing new.
    if (this.problems.length < 20) this.problems.push(text);
  }

  get total(): number {
    return [...this.cases.values()].reduce((sum, count) => sum + count, 0);
  }

  toString(): string {
    const list = (counts: ReadonlyMap<string, number>): string =>
      [...counts].map(([name, count]) => `${name} ${count}`).join(", ");
    return [
      `cases: ${this.total} tried, ${Math.max(0, this.total - this.notHeld)} held (${list(this.cases)})`,
      "operation           tried accepted refused ended",
      ...[...this.operations].map(([name, { accepted, refused, ended }]) =>
        [
          name.padEnd(18),
          ...[accepted + refused + ended, accepted, refused, ended].map((count) => String(count).padStart(6)),
        ].join(" "),
      ),
      `codes: ${list(this.codes)}`,
      `honest calls meanwhile: ${this.honest}, the slowest ${Math.round(this.slowestMs)} ms`,
      ...this.notes,
      this.problems.length === 0 ? "no crash, no hang, no leak" : `PROBLEMS:\n${this.problems.join("\n")}`,
    ].join("\n");
  }
}
