// Which view shows a run, and several readers as one.
import { homeOf } from "../../protocol/home.ts";
import { isDetached } from "../detach.ts";
import type { EventReader } from "../events.ts";
import type { Secrets } from "../secrets.ts";
import { jsonView } from "./json.ts";
import { plainView } from "./plain.ts";

export const formats = ["auto", "live", "plain", "json", "github", "gitlab"] as const;
export type Format = (typeof formats)[number];

/**
 * `auto`: as the CI service shows it that the command runs in, live in a terminal, plain lines elsewhere; where nothing
 * can be redrawn, `live` is plain too. `secrets` may grow while the run goes on; `folder` is the coordinator's.
 */
export async function chooseView(
  format: Format,
  out: NodeJS.WriteStream = process.stdout,
  folder = homeOf("coordinator"),
  secrets: Pick<Secrets, "values" | "redaction"> = { values: new Set(), redaction: undefined },
): Promise<EventReader> {
  if (isDetached) return { on() {}, close() {} };
  if (format === "json") return jsonView(out);
  const service = format === "auto" ? serviceOf(process.env) : format;
  if (service === "github") return (await import("./github.ts")).githubView(out, folder, undefined, secrets);
  if (service === "gitlab") return (await import("./gitlab.ts")).gitlabView(out, folder, undefined, secrets);
  const canDraw = out.isTTY && process.env["TERM"] !== "dumb";
  if (!canDraw || format === "plain" || (format === "auto" && process.env["CI"])) return plainView(out);
  const { liveView } = await import("./live.ts");
  return liveView(out);
}

function serviceOf(environment: NodeJS.ProcessEnv): Format | undefined {
  if (environment["GITHUB_ACTIONS"] === "true") return "github";
  return environment["GITLAB_CI"] === "true" ? "gitlab" : undefined;
}

/** Hands each event to every reader, in order, and waits for all of them. */
export function combine(readers: readonly EventReader[]): EventReader {
  return {
    on(event) {
      let waits: Promise<void>[] | undefined;
      for (const reader of readers) {
        const wait = reader.on(event);
        if (wait) (waits ??= []).push(wait);
      }
      return waits && Promise.all(waits).then(() => {});
    },
    async close() {
      for (const reader of readers) await reader.close();
    },
  };
}
