// Numbers that a seed decides, so that a round that went wrong can be drawn again.

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 32 bits, by Bob Jenkins's and Tommy Ettinger's `mulberry32`: neighbouring seeds have nothing in common. */
  bits(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A whole number, both ends included. */
  between(low: number, high: number): number {
    return low + (this.bits() % (high - low + 1));
  }

  within([low, high]: readonly [number, number]): number {
    return this.between(low, high);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.bits() % list.length] as T;
  }

  chance(percent: number): boolean {
    return this.between(1, 100) <= percent;
  }
}
