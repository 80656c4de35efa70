import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import { forgetTyped, typedLine } from "../../coordinator/typed-line.ts";
import { limits } from "../../protocol/limits.ts";
import { holdUp, typed } from "../rig/typed.ts";

it("forgets what was typed before a question, however late the first line of it is read", async () => {
  const input = typed(["early\n", "earlier\n", "earliest\n"]);
  const forgotten = forgetTyped(input);
  holdUp(2 * limits.typedBeforeMs);
  await forgotten;
  const answer = typedLine(input, new AbortController().signal);
  await delay(50);
  input.push("late\n");
  expect(await answer).toBe("late");
});
