// How a container ended. The library's own wait never settles when the connection is lost in the middle of the answer,
// which Podman begins at once. command.ts and services.ts ask.
import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { limits } from "../../../../protocol/limits.ts";
import type { Engine } from "./engine.ts";
import { wordsOf } from "./engine-error.ts";

export type State = { readonly code: number; readonly outOfMemory: boolean } | { readonly lost: string };

/** Docker is told by another way than that of the exit that memory ran out, and may be so a little later, or never. */
const OUT_OF_MEMORY_WITHIN_MS = 500;
const LOOK_EVERY_MS = 25;

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

/** Of a container that was killed, and whose engine did not say by the end that its memory ran out. Never rejects. */
export async function outOfMemoryLater({ docker }: Pick<Engine, "docker">, container: string): Promise<boolean> {
  try {
    for (const givesUp = performance.now() + OUT_OF_MEMORY_WITHIN_MS; performance.now() < givesUp; ) {
      await delay(LOOK_EVERY_MS);
      if ((await docker.getContainer(container).inspect()).State.OOMKilled) return true;
    }
  } catch {
    // It has told the exit: that stands.
  }
  return false;
}
