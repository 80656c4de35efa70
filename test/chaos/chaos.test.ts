import { expect, it } from "vitest";
import { play } from "./play.ts";

const ROUNDS = 8;
/** No round begins later: the whole takes a minute on two free cores. */
const WITHIN_MS = 75_000;

it("loses and repeats no byte and no exit, and leaves nothing behind, whatever breaks", {
  timeout: 240_000,
}, async () => {
  const seed = Number(process.env["SORTIE_CHAOS_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`chaos: SORTIE_CHAOS_SEED=${seed}`);
  const figures = await play({ rounds: ROUNDS, seed, say: console.log, withinMs: WITHIN_MS });
  console.log(`${figures}`);
  expect(figures.problems).toEqual([]);
});
