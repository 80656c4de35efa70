// An image registry on loopback, which Docker takes without TLS: one image, behind a user's name and a password. Its layer
// is sent in pieces, or not at all, so that a pull can be watched and cut.

import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

export const USER = "somebody";
export const PASSWORD = "s3cret-of-the-registry";
const LAYER_BYTES = 3_000_000;
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

export class Registry {
  readonly #server: Server = createServer();
  readonly #blobs = new Map<string, Buffer>();
  readonly #layer: string;
  readonly #manifest: Buffer;
  /** What was asked for, after the credentials were right. */
  readonly asked: string[] = [];
  /** As `asked` has the layer. */
  readonly layerAsked: string;
  /** How the layer is sent: in pieces, this far apart; or byte by byte, which takes an hour. */
  pace: { everyMs: number } | "trickle" = { everyMs: 0 };
  /** Layers that were cut off by the other side. */
  cut = 0;

  constructor() {
    const folder = mkdtempSync(join(tmpdir(), "sortie-layer-"));
    writeFileSync(join(folder, "random"), randomBytes(LAYER_BYTES));
    const tar = execFileSync("tar", ["--owner=0", "--group=0", "-C", folder, "-c", "."], { maxBuffer: 64 << 20 });
    rmSync(folder, { recursive: true });
    const layer = gzipSync(tar, { level: 1 });
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === "x64" ? "amd64" : process.arch,
        os: "linux",
        config: {},
        rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
      }),
    );
    this.#layer = digestOf(layer);
    this.layerAsked = `GET /v2/app/blobs/${this.#layer}`;
    this.#blobs.set(this.#layer, layer);
    this.#blobs.set(digestOf(config), config);
    this.#manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: {
          mediaType: "application/vnd.docker.container.image.v1+json",
          size: config.length,
          digest: digestOf(config),
        },
        layers: [
          { mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", size: layer.length, digest: this.#layer },
        ],
      }),
    );
    this.#server.on("request", ({ method = "", url = "", headers }, response) => {
      const expected = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString("base64")}`;
      if (headers.authorization !== expected) {
        response.writeHead(401, { "WWW-Authenticate": 'Basic realm="test"' });
        response.end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "who are you" }] }));
        return;
      }
      this.asked.push(`${method} ${url}`);
      this.#answer(method, url, response);
    });
  }

  #answer(method: string, url: string, response: ServerResponse): void {
    const blob = this.#blobs.get(url.split("/blobs/")[1] ?? "");
    if (url === "/v2/") response.end("{}");
    else if (/^\/v2\/app\/manifests\/(latest|sha256:.*)$/.test(url)) {
      response.writeHead(200, {
        "Content-Type": MANIFEST,
        "Content-Length": this.#manifest.length,
        "Docker-Content-Digest": digestOf(this.#manifest),
      });
      response.end(method === "HEAD" ? undefined : this.#manifest);
    } else if (blob) {
      response.writeHead(200, { "Content-Length": blob.length });
      if (url.endsWith(this.#layer)) this.#send(blob, response);
      else response.end(blob);
    } else {
      response.writeHead(404);
      response.end(JSON.stringify({ errors: [{ code: "MANIFEST_UNKNOWN", message: "there is none" }] }));
    }
  }

  #send(blob: Buffer, response: ServerResponse): void {
    const size = this.pace === "trickle" ? 1 : Math.ceil(blob.length / 25);
    let at = 0;
    const timer = setInterval(
      () => {
        response.write(blob.subarray(at, at + size));
        at += size;
        if (at < blob.length) return;
        clearInterval(timer);
        response.end();
      },
      this.pace === "trickle" ? 1 : this.pace.everyMs,
    );
    response.on("close", () => {
      clearInterval(timer);
      if (!response.writableFinished) this.cut += 1;
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
