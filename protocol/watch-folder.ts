// Tells that something in a folder may have changed. The system's own notice comes at once where there is one; file
// systems of networks and some containers give none, and the system may have no watch left, so we also look by the clock.
import { type FSWatcher, watch } from "node:fs";

const LOOK_EVERY_MS = 1_000;

/** Calls `look` often, also when nothing changed; it should be quick. Gives the function that stops it. Holds no process. */
export function watchFolder(folder: string, look: () => void): () => void {
  const timer = setInterval(look, LOOK_EVERY_MS).unref();
  let watcher: FSWatcher | undefined;
  try {
    // The folder is watched, not a file: a file that is replaced would be watched no more.
    watcher = watch(folder, { persistent: false }, look);
    watcher.on("error", () => watcher?.close());
  } catch {
    // No watch to be had: the clock does it.
  }
  return () => {
    clearInterval(timer);
    watcher?.close();
  };
}
