// A caller's stream and the keeper's, joined: bytes go on as they come, and the window, which the keeper and the caller
// keep between them, bounds what is under way. Nothing is parsed here; session.ts does, at the keeper.
import type { RawCarriage } from "../protocol/call.ts";
import { SortieError } from "../protocol/errors.ts";

/** Resolves when the keeper has ended the session, rejects when either side was lost before. */
export async function relay(caller: RawCarriage, keeper: RawCarriage): Promise<void> {
  const onCallerLost = (): void => keeper.abort(new SortieError("CONNECTION_LOST", "The caller was lost."));
  const onKeeperLost = (): void => caller.abort(new SortieError("CONNECTION_LOST", "The keeper was lost."));
  caller.lost.addEventListener("abort", onCallerLost, { once: true });
  keeper.lost.addEventListener("abort", onKeeperLost, { once: true });
  if (caller.lost.aborted) onCallerLost();
  if (keeper.lost.aborted) onKeeperLost();
  const up = forward(caller, keeper);
  up.catch(() => {});
  try {
    await forward(keeper, caller);
  } finally {
    caller.lost.removeEventListener("abort", onCallerLost);
    keeper.lost.removeEventListener("abort", onKeeperLost);
    // Whatever the caller still says is for nobody.
    keeper.abort(new SortieError("CONNECTION_LOST", "The session is over."));
  }
}

async function forward(from: RawCarriage, to: RawCarriage): Promise<void> {
  for (let bytes = await from.read(); bytes; bytes = await from.read()) await to.write(bytes);
  await to.close();
}
