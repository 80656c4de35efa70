// Two carriages joined into one: bytes go on as they come, and the window, which both ends keep between them, bounds what is
// under way. Nothing is parsed here. A runner's front joins a caller with its keeper; the process of a coordinator that
// listens joins another one with a runner.
import type { RawCarriage } from "./call.ts";
import { SortieError } from "./errors.ts";

/** Resolves when the side that serves has ended the session, rejects when either side was lost before. */
export async function relay(caller: RawCarriage, server: RawCarriage): Promise<void> {
  const onCallerLost = (): void => server.abort(new SortieError("CONNECTION_LOST", "The caller was lost."));
  const onServerLost = (): void => caller.abort(new SortieError("CONNECTION_LOST", "The side that serves was lost."));
  caller.lost.addEventListener("abort", onCallerLost, { once: true });
  server.lost.addEventListener("abort", onServerLost, { once: true });
  if (caller.lost.aborted) onCallerLost();
  if (server.lost.aborted) onServerLost();
  const up = forward(caller, server);
  up.catch(() => {});
  try {
    await forward(server, caller);
  } finally {
    caller.lost.removeEventListener("abort", onCallerLost);
    server.lost.removeEventListener("abort", onServerLost);
    // Whatever the caller still says is for nobody.
    server.abort(new SortieError("CONNECTION_LOST", "The session is over."));
  }
}

async function forward(from: RawCarriage, to: RawCarriage): Promise<void> {
  for (let bytes = await from.read(); bytes; bytes = await from.read()) await to.write(bytes);
  await to.close();
}
