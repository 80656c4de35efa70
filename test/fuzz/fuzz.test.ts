import { expect, it } from "vitest";
import { fuzz } from "./play.ts";

it("crashes, hangs and leaks nothing, whatever a hostile peer or runner sends", { timeout: 90_000 }, async () => {
  const seed = Number(process.env["SORTIE_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`fuzz: SORTIE_FUZZ_SEED=${seed}`);
  const figures = await fuzz({ seconds: 8, seed, say: () => {} });
  console.log(`${figures}`);
  expect(figures.problems).toEqual([]);
});
