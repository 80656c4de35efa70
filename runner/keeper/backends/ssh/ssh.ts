import type { Backend } from "../backend.ts";
export function sshBackend(_options: { readonly log: (line: string) => void }): Backend {
  throw new Error("not built yet");
}
