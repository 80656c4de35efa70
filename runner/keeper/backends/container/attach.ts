// Attaches to a container that is not started yet. By a request of our own: the library sends its options as a body,
// which Podman hands to the container as its stdin. command.ts and services.ts attach.
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { limits } from "../../../../protocol/limits.ts";
import type { Engine } from "./engine.ts";

export class AttachFailed extends Error {
  readonly statusCode: number;
  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

/** The raw connection: for `outputs` frames of both, for `stdin` what is written to it. */
export function attach(
  engine: Engine,
  container: string,
  what: "outputs" | "stdin",
  cancelled?: AbortSignal,
): Promise<Duplex> {
  const streams = what === "stdin" ? "stdin=1" : "stdout=1&stderr=1";
  const { protocol, host, agent: _, ...reach } = engine.reach as { protocol?: string; host?: string; agent?: unknown };
  const request = protocol === "https" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const asking = request({
      ...reach,
      ...(host === undefined ? {} : { host }),
      ...(engine.address.unverified ? { rejectUnauthorized: false } : {}),
      agent: false,
      method: "POST",
      path: `/containers/${container}/attach?stream=1&${streams}`,
      headers: { Connection: "Upgrade", Upgrade: "tcp", "Content-Length": 0 },
    });
    const abort = (): void => void asking.destroy(new Error("cancelled"));
    if (cancelled?.aborted) abort();
    cancelled?.addEventListener("abort", abort, { once: true });
    const settled = (): void => {
      clearTimeout(timer);
      cancelled?.removeEventListener("abort", abort);
    };
    asking.on("upgrade", (_response, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      settled();
      socket.setTimeout(0);
      (socket as Socket).setKeepAlive(true, limits.engineKeepaliveMs);
      resolve(socket);
    });
    asking.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text = (text + part).slice(0, 10_000);
      });
      response.on("end", () => reject(new AttachFailed(response.statusCode ?? 0, messageIn(text))));
      response.on("error", reject);
    });
    const timer = setTimeout(
      () => asking.destroy(Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" })),
      limits.engineAnswersMs,
    );
    asking.on("error", reject);
    asking.on("close", () => {
      settled();
      reject(new Error("the engine cut the connection"));
    });
    asking.end();
  });
}

function messageIn(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text;
  }
}
