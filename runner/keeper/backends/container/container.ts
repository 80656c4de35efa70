import type { Backend } from "../backend.ts";
export function containerBackend(_options: { readonly owner: string; readonly log: (line: string) => void }): Backend {
  throw new Error("not built yet");
}
