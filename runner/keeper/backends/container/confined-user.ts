// Who a confined container runs as: never root, by whatever name an image gives it. container.ts asks once for each image.
import type { IncomingMessage } from "node:http";
import type Docker from "dockerode";
import { limits } from "../../../../protocol/limits.ts";
import { Refused } from "../backend.ts";
import { create } from "./create.ts";
import type { Engine } from "./engine.ts";
import { statusOf } from "./engine-error.ts";

/** Nobody, in every image: a number needs no entry. */
const NOBODY = "65534:65534";

/**
 * By number, so that no step can make another user of it in a file of the image. Rejects with Refused where the user that
 * was asked for is root by another name, or not to be found.
 */
export async function confinedUser(
  engine: Engine,
  image: Docker.ImageInspectInfo,
  asked: string | undefined,
  labels: Readonly<Record<string, string>>,
): Promise<string> {
  const [user = "", group] = (asked ?? image.Config?.User ?? "").split(":");
  // Who asks for root in so many words was granted it.
  if (asked !== undefined && (user === "root" || Number(user) === 0)) return asked;
  if (user === "") return NOBODY;
  // Engines take a number for a number, also where the image has a user of that name.
  const [uid, gid] = /^\d+$/.test(user) ? [user] : ((await lookUp(engine, image.Id, user, labels)) ?? []);
  if (uid === undefined) throw new Refused("spawn", `the user ${user} is not in the image's /etc/passwd`);
  if (Number(uid) !== 0) return [uid, group ?? gid].filter((part) => part !== undefined).join(":");
  if (asked === undefined) return NOBODY;
  throw new Refused("spawn", `the user ${asked} is root in this image, and the runner was not told to allow that`);
}

/** Its number and its group's, as the image has them; of a container that is never started. */
async function lookUp(
  engine: Engine,
  image: string,
  user: string,
  labels: Readonly<Record<string, string>>,
): Promise<[uid: string, gid: string] | undefined> {
  const body = { Image: image, Entrypoint: ["-"], Cmd: [], Labels: { ...labels }, HostConfig: { NetworkMode: "none" } };
  const container = await create(engine, body, undefined);
  try {
    for (const line of (await readPasswd(container)).split("\n")) {
      const [name, , uid = "", gid = ""] = line.split(":");
      if (name === user && /^\d+$/.test(uid) && /^\d+$/.test(gid)) return [uid, gid];
    }
    return undefined;
  } finally {
    await container.remove({ force: true, v: true }).catch(() => {});
  }
}

/** The one file of the archive that an engine makes of it: a header of 512 bytes, with the size in octal at 124. */
async function readPasswd(container: Docker.Container): Promise<string> {
  let archive: IncomingMessage;
  try {
    archive = (await container.getArchive({ path: "/etc/passwd" })) as unknown as IncomingMessage;
  } catch (error) {
    if (statusOf(error) === 404) return "";
    throw error;
  }
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of archive as AsyncIterable<Buffer>) {
    parts.push(part);
    length += part.length;
    if (length > limits.passwdBytes) throw new Refused("spawn", "the image's /etc/passwd is too long to look into");
  }
  const bytes = Buffer.concat(parts);
  const isFile = ["0", "\0"].includes(bytes.toString("latin1", 156, 157));
  const size = Number.parseInt(bytes.toString("latin1", 124, 135), 8);
  return isFile && size > 0 ? bytes.toString("utf8", 512, 512 + size) : "";
}
