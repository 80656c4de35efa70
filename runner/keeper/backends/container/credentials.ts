// The credentials for a registry, as Docker's own configuration has them: `auths`, `credsStore`, `credHelpers`.
// pull.ts asks. Nothing here writes a secret anywhere: errors name the helper and its code, and no more.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import * as v from "valibot";
import { limits } from "../../../../protocol/limits.ts";
import { Refused } from "../backend.ts";
import { dockerFolder } from "./engine.ts";

const Helper = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.-]+$/, "a credential helper's name"));
const DockerConfig = v.object({
  auths: v.optional(
    v.record(
      v.string(),
      v.object({
        auth: v.optional(v.string()),
        username: v.optional(v.string()),
        password: v.optional(v.string()),
        identitytoken: v.optional(v.string()),
      }),
    ),
  ),
  credsStore: v.optional(v.union([v.literal(""), Helper])),
  credHelpers: v.optional(v.record(v.string(), Helper)),
});
type DockerConfig = v.InferOutput<typeof DockerConfig>;
const Answer = v.object({ Username: v.string(), Secret: v.string() });

/** What Docker Hub is called in every configuration. */
const HUB = "https://index.docker.io/v1/";
/** With this user's name the secret is an identity token. */
const TOKEN_USER = "<token>";

/** The registry of an image's name: its first part, where that can be a host's name. */
export function registryOf(image: string): string {
  const [first = "", ...rest] = image.split("/");
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  return isHost && first !== "docker.io" && first !== "index.docker.io" ? first : HUB;
}

export type Credentials =
  | { readonly username: string; readonly password: string; readonly serveraddress: string }
  | { readonly identitytoken: string };

/** Undefined where there are none; a registry may serve anybody. */
export async function credentialsFor(
  image: string,
  cancelled: AbortSignal,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Credentials | undefined> {
  const registry = registryOf(image);
  const config = readConfig(join(dockerFolder(env), "config.json"));
  const helper = config.credHelpers?.[registry] ?? config.credsStore;
  if (helper) return askHelper(helper, registry, cancelled, env);
  const found = Object.entries(config.auths ?? {}).find(([server]) => isSame(server, registry))?.[1];
  if (!found) return undefined;
  if (found.identitytoken) return { identitytoken: found.identitytoken };
  const [username, password] = found.auth ? splitAuth(found.auth) : [found.username, found.password];
  return username === undefined || password === undefined ? undefined : { username, password, serveraddress: registry };
}

function readConfig(path: string): DockerConfig {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return {};
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The parser's message would quote the file.
    throw new Refused("image", `${path} is no JSON`);
  }
  const config = v.safeParse(DockerConfig, parsed);
  if (!config.success)
    throw new Refused("image", `${path} is not as Docker writes it, at ${v.getDotPath(config.issues[0])}`);
  return config.output;
}

const isSame = (server: string, registry: string): boolean =>
  server === registry || (registry !== HUB && server.replace(/^https?:\/\//, "").replace(/\/.*$/, "") === registry);

function splitAuth(auth: string): [string | undefined, string | undefined] {
  const text = Buffer.from(auth, "base64").toString();
  const at = text.indexOf(":");
  return at < 0 ? [undefined, undefined] : [text.slice(0, at), text.slice(at + 1).replace(/\0+$/, "")];
}

async function askHelper(
  helper: string,
  registry: string,
  cancelSignal: AbortSignal,
  env: NodeJS.ProcessEnv,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${helper}`;
  const { stdout, exitCode, failed, timedOut } = await execa(program, ["get"], {
    input: registry,
    env,
    extendEnv: false,
    reject: false,
    stderr: "ignore",
    timeout: limits.credentialHelperMs,
    cancelSignal,
    maxBuffer: limits.controlBytes,
  });
  if (/credentials not found/i.test(stdout)) return undefined;
  if (failed) {
    const how = timedOut ? "did not answer" : exitCode === undefined ? "could not be run" : `exited with ${exitCode}`;
    throw new Refused("image", `the credentials for ${registry} could not be had: ${program} ${how}`);
  }
  let answer: v.InferOutput<typeof Answer>;
  try {
    answer = v.parse(Answer, JSON.parse(stdout));
  } catch {
    throw new Refused("image", `the credentials for ${registry} could not be had: ${program} gave no answer to read`);
  }
  return answer.Username === TOKEN_USER
    ? { identitytoken: answer.Secret }
    : { username: answer.Username, password: answer.Secret, serveraddress: registry };
}
