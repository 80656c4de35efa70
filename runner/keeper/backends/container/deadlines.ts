// A deadline for every request to an engine: one that is stopped, or whose machine was powered off, would hold it for
// ever, and the library forgets a request whose answer was cut. engine.ts gives them to its connection.
import type Docker from "dockerode";
import { limits } from "../../../../protocol/limits.ts";

interface Request {
  readonly method?: string;
  readonly path: string;
  /** Resolves with an answer that goes on: the deadline is for its beginning. */
  readonly isStream?: boolean;
  readonly abortSignal?: AbortSignal;
  /** It is answered when a container ends. */
  readonly withoutDeadline?: boolean;
}
type Answer = (error: unknown, answer: unknown) => void;

export function withDeadlines(docker: Docker): Docker {
  const modem = docker.modem as { dial(request: Request, answer: Answer): void };
  const dial = modem.dial.bind(modem);
  modem.dial = (request, answer) => {
    if (request.withoutDeadline) return dial(request, answer);
    const ms = isQuick(request) ? limits.engineAnswersMs : limits.engineWorksMs;
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(Object.assign(new Error(`no answer within ${ms / 1_000} s`), { code: "ETIMEDOUT" })),
      ms,
    );
    const given = request.abortSignal;
    const abort = (): void => late.abort(given?.reason);
    let answered = false;
    const once: Answer = (error, result) => {
      if (answered) return;
      answered = true;
      clearTimeout(timer);
      given?.removeEventListener("abort", abort);
      answer(error, result);
    };
    late.signal.addEventListener("abort", () => once(late.signal.reason, null), { once: true });
    given?.addEventListener("abort", abort, { once: true });
    if (given?.aborted) return abort();
    dial({ ...request, abortSignal: late.signal }, once);
  };
  return docker;
}

/** What only looks; but what a container changed is found by walking through its files. */
const isQuick = ({ method, path }: Request): boolean => method === "GET" && !path.endsWith("/changes");
