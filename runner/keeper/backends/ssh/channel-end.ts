// How a command's channel ends, told apart from how its connection does. command.ts waits for it.
import { constants } from "node:os";
import type { SignalName } from "../../../../protocol/exit.ts";
import type { Ended } from "../backend.ts";
import type { Session } from "./sessions.ts";

export interface ChannelEnd {
  /** What the server told, which is often before the last output. */
  readonly told: Promise<Ended>;
  /** The channel was closed, by the server or with its connection, and its outputs were read. */
  readonly closed: Promise<void>;
  /** The connection went away before the end of the outputs, or before the exit: why. Otherwise it never resolves. */
  readonly cut: Promise<string>;
  /** By then. */
  isCut(): boolean;
}

export function endOf({ channel, client, gone }: Session): ChannelEnd {
  const told = Promise.withResolvers<Ended>();
  const cut = Promise.withResolvers<string>();
  const closed = new Promise<void>((resolve) => channel.once("close", () => resolve()));
  let isCut = false;
  let exited = false;
  channel.once("exit", (code: number | null, signal?: string) => {
    exited = true;
    told.resolve(endedBy(code, signal));
  });
  const onGone = (): void => {
    // Its end came before the connection went: everything is here, or waits for its reader.
    const { incoming } = channel as unknown as { incoming: { state: string } };
    if (exited && incoming.state !== "open") return;
    isCut = true;
    void gone.then(cut.resolve);
  };
  client.once("close", onGone);
  void closed.then(() => client.off("close", onGone));
  return { told: told.promise, closed, cut: cut.promise, isCut: () => isCut };
}

/** OpenSSH names the thirteen signals of RFC 4254 and no other one; a shell's code for "a signal" says more than nothing. */
function endedBy(code: number | null, signal: string | undefined): Ended {
  if (signal === undefined) return { kind: "exited", code: (code ?? 255) & 255 };
  const name = signal.replace(/^SIG/, "");
  if (`SIG${name}` in constants.signals) return { kind: "signaled", signal: name as SignalName };
  return { kind: "exited", code: 255, ambiguous: true };
}
