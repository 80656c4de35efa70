// What `--format json` tells of the jobs of a run.

export interface EndedJob {
  readonly type: string;
  readonly job: string;
  readonly outcome: string;
  readonly allowed?: true;
  readonly output?: unknown;
  readonly message?: string;
  readonly exit?: { readonly code: number | null; readonly reason: string };
}

/** The last of each job's ends, by its name. */
export const endsIn = (text: string): Map<string, EndedJob> =>
  new Map(
    text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as EndedJob)
      .filter(({ type }) => type === "job-ended")
      .map((ended) => [ended.job, ended]),
  );
