// Which of many is first, and which of some of them, without looking at each: a tree whose nodes hold the first of all below
// them. The runners and the lines of a schedule (placing.ts) stand in such trees, by their numbers.

/** Some of those that stand in tournaments of one kind; tells at each node of theirs whether one of these is below. */
export class Entrants {
  #nodes = new Uint8Array(2);
  readonly #entrants: number[] = [];

  get all(): readonly number[] {
    return this.#entrants;
  }

  add(entrant: number): void {
    this.#entrants.push(entrant);
    if (entrant >= this.#nodes.length / 2) this.#grow(capacityFor(entrant));
    this.#mark(entrant);
  }

  has(entrant: number): boolean {
    return this.#nodes[this.#nodes.length / 2 + entrant] === 1;
  }

  /** The nodes of a tournament of that capacity, which is at least their own. */
  nodesOf(capacity: number): Uint8Array {
    if (this.#nodes.length < capacity * 2) this.#grow(capacity);
    return this.#nodes;
  }

  #grow(capacity: number): void {
    this.#nodes = new Uint8Array(capacity * 2);
    for (const entrant of this.#entrants) if (entrant < capacity) this.#mark(entrant);
  }

  #mark(entrant: number): void {
    for (let node = this.#nodes.length / 2 + entrant; node > 0 && this.#nodes[node] === 0; node >>= 1)
      this.#nodes[node] = 1;
  }
}

const NOBODY = -1;

export class Tournament {
  /** Nodes that were looked at or written, in all: a test holds the cost to this, whatever the machine's speed. */
  looks = 0;
  readonly #isBefore: (one: number, other: number) => boolean;
  #first = new Int32Array(2).fill(NOBODY);

  /** Equals come in the order of their numbers. Whoever's place in the order changed must be set again. */
  constructor(isBefore: (one: number, other: number) => boolean) {
    this.#isBefore = isBefore;
  }

  /** Puts the entrant in, or takes it out, or puts it where it belongs now. */
  set(entrant: number, present: boolean): void {
    if (entrant >= this.#capacity) {
      if (!present) return;
      this.#grow(capacityFor(entrant));
    }
    let node = this.#capacity + entrant;
    this.#first[node] = present ? entrant : NOBODY;
    for (node >>= 1; node > 0; node >>= 1) this.#decide(node);
  }

  has(entrant: number): boolean {
    return this.#first[this.#capacity + entrant] === entrant;
  }

  get first(): number | undefined {
    const first = this.#first[1] as number;
    return first === NOBODY ? undefined : first;
  }

  /**
   * The first of those. `isWorth` tells whether one would do; who comes behind one who would not, would not either. So
   * whole branches are left out, and with few of them, or with nearly all, this costs the tree's height.
   */
  firstOf(some: Entrants, isWorth: (entrant: number) => boolean = () => true): number | undefined {
    const nodes = some.nodesOf(this.#capacity);
    let best = NOBODY;
    const search = (node: number, own: number): void => {
      this.looks++;
      const first = this.#first[node] as number;
      if (first === NOBODY || nodes[own] === 0 || !isWorth(first)) return;
      if (best !== NOBODY && !this.#goesBefore(first, best)) return;
      if (some.has(first)) {
        best = first;
        return;
      }
      const left = this.#first[node * 2] as number;
      const right = this.#first[node * 2 + 1] as number;
      const rightFirst = left === NOBODY || (right !== NOBODY && this.#goesBefore(right, left));
      for (const side of rightFirst ? [1, 0] : [0, 1]) search(node * 2 + side, own * 2 + side);
    };
    // Where theirs has grown further, this tree's root stands further down in it, on the left.
    search(1, nodes.length / 2 / this.#capacity);
    return best === NOBODY ? undefined : best;
  }

  get #capacity(): number {
    return this.#first.length / 2;
  }

  #goesBefore(one: number, other: number): boolean {
    return this.#isBefore(one, other) || (one < other && !this.#isBefore(other, one));
  }

  #decide(node: number): void {
    this.looks++;
    const left = this.#first[node * 2] as number;
    const right = this.#first[node * 2 + 1] as number;
    this.#first[node] = left === NOBODY || (right !== NOBODY && this.#isBefore(right, left)) ? right : left;
  }

  #grow(capacity: number): void {
    const grown = new Int32Array(capacity * 2).fill(NOBODY);
    grown.set(this.#first.subarray(this.#capacity), capacity);
    this.#first = grown;
    for (let node = capacity - 1; node > 0; node--) this.#decide(node);
  }
}

/** A power of two above the number. */
const capacityFor = (entrant: number): number => 2 ** (32 - Math.clz32(entrant));
