import { expect, it } from "vitest";
import { endPlaces } from "../../coordinator/end-places.ts";
import { SortieError } from "../../protocol/errors.ts";
import type { AttemptId, JobName, RunId } from "../../protocol/ids.ts";

it("gives places back without an error where neither the runner knows them nor the record can be written", async () => {
  const id = "att1" as AttemptId;
  const place = { id, run: "run1" as RunId, job: "a" as JobName, runner: "w1", runnerId: "12D3KooW", startedAt: 1 };
  const forgotten: AttemptId[] = [];
  const store = {
    forgetPlace(one: AttemptId): void {
      forgotten.push(one);
      throw new SortieError("STORE_FAILED", "The disk is full.");
    },
  };
  const open = async () => {
    throw new SortieError("NOT_FOUND", "The runner is not trusted any more.");
  };
  await expect(endPlaces(store, [place], () => ({ id: "12D3KooW", name: "w1", open }))).resolves.toBe(undefined);
  expect(forgotten).toEqual([id]);
});
