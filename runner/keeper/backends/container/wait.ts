// How a container ended. The library's own wait never settles when the connection is lost in the middle of the answer,
// which Podman begins at once. command.ts and services.ts ask.
import type { IncomingMessage } from "node:http";
import { limits } from "../../../../protocol/limits.ts";
import type { Engine } from "./engine.ts";
import { wordsOf } from "./engine-error.ts";

export type State = { readonly code: number; readonly outOfMemory: boolean } | { readonly lost: string };

/**
 * Asked after the start, when it can only be running or over: asked before, an engine answers at once, or may come late.
 * Never rejects.
 */
export async function endOf({ docker }: Engine, container: string): Promise<State> {
  try {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      docker.modem.dial(
        {
          path: `/containers/${container}/wait`,
          method: "POST",
          isStream: true,
          withoutDeadline: true,
          statusCodes: { 200: true, 404: "no such container", 500: "server error" },
        } as never,
        (error, response) => (error ? reject(error as Error) : resolve(response as IncomingMessage)),
      );
    });
    answer.socket.setKeepAlive(true, limits.engineKeepaliveMs);
    for await (const _ of answer);
    const { State } = await docker.getContainer(container).inspect();
    return { code: State.ExitCode, outOfMemory: State.OOMKilled };
  } catch (error) {
    return { lost: `the container engine went away (${wordsOf(error)})` };
  }
}
