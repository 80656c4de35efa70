// Rounds one after the other, each with the seed after the one before. A site serves some of them, and none after one
// that went wrong: what is wrong with it would be told as the next round's.
import { Figures } from "./figures.ts";
import { playRound } from "./round.ts";
import { Site } from "./site.ts";

const ROUNDS_A_SITE = 15;

export interface PlayOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly say: (line: string) => void;
  /** No round begins after so many milliseconds. */
  readonly withinMs?: number;
}

export async function play({ rounds, seed, say, withinMs = Number.POSITIVE_INFINITY }: PlayOptions): Promise<Figures> {
  const figures = new Figures();
  const begun = performance.now();
  let site: Site | undefined;
  let served = 0;

  async function leave(): Promise<void> {
    const left = site;
    site = undefined;
    served = 0;
    try {
      await left?.close();
    } catch (error) {
      figures.left++;
      figures.wrong(`left behind at the end: ${String(error)}`);
      say(`  left behind at the end: ${String(error)}`);
    }
  }

  try {
    for (let round = 0; round < rounds && performance.now() - begun < withinMs; round++) {
      const roundSeed = (seed + round) >>> 0;
      const startedAt = performance.now();
      site ??= await Site.open();
      served++;
      const { figures: own, story } = await playRound(site, roundSeed).catch((error: unknown) => {
        const failed = new Figures();
        failed.rounds = 1;
        failed.wrong(`it could not be played: ${error instanceof Error ? error.stack : String(error)}`);
        return { figures: failed, story: "" };
      });
      figures.add(own);
      const ms = Math.round(performance.now() - startedAt);
      say(`seed ${roundSeed}: ${story}, ${own.bytes} bytes, ${ms} ms${own.problems.length > 0 ? ", WRONG" : ""}`);
      for (const problem of own.problems) say(`  ${problem}`);
      for (const word of own.words) say(`    ${word}`);
      if (own.problems.length > 0 || served >= ROUNDS_A_SITE) await leave();
    }
  } finally {
    await leave();
  }
  return figures;
}
