// A group of jobs as the plan has it: recipe/concurrency.ts makes it, waits.ts and the store's claims keep to it.

/** So many of its jobs run at once, of all runs of a coordinator. */
export interface Group {
  readonly name: string;
  readonly limit: number;
  /** A job cancels those of older runs, rather than wait for its turn. */
  readonly cancelsOlder?: true;
}
