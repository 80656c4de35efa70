// For tests about trust: a folder that goes away, peers, and code run by processes of their own.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { onTestFinished } from "vitest";
import { loadIdentity } from "../../protocol/identity.ts";
import { type Node, type NodeOptions, startNode } from "../../protocol/node.ts";
import { root } from "./rig.ts";

/** A folder that is removed when the test ends. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sortie-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A peer ID that nobody has. */
export const newPeer = async (): Promise<string> => peerIdFromPrivateKey(await generateKeyPair("Ed25519")).toString();

/** The URL of a source file, for code that runs elsewhere. */
export const sourceUrl = (path: string): string => JSON.stringify(pathToFileURL(join(root, path)).href);

/** Runs the module's code in a process of its own, and gives what it printed. Rejects unless it ends with 0. */
export async function inProcess(code: string): Promise<string> {
  const [text = ""] = await together([code]);
  return text;
}

/**
 * Runs each module's code in a process of its own. All begin at the same moment, once every one has loaded what it
 * imports: only so do they get into each other's way.
 */
export async function together(codes: readonly string[]): Promise<string[]> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const children = codes.map((code) => {
    // Imports are done before the first line; reading blocks until the go.
    const source = `import { readSync as go } from "node:fs"; console.log("ready"); go(0, Buffer.alloc(1));\n${code}`;
    return spawn(process.execPath, ["--input-type=module", "-e", source], { env });
  });
  const loaded = children.map((child) => once(child.stdout, "data"));
  const ended = children.map(outputOf);
  // One that cannot even load ends without a word, and its end says why.
  await Promise.race([Promise.all(loaded), Promise.all(ended)]);
  for (const child of children) child.stdin.end("!");
  return Promise.all(ended);
}

function outputOf(child: ChildProcessWithoutNullStreams): Promise<string> {
  const output: Buffer[] = [];
  child.stdout.on("data", (bytes: Buffer) => output.push(bytes));
  child.stderr.on("data", (bytes: Buffer) => output.push(bytes));
  child.stdin.on("error", () => {});
  return new Promise((resolve, reject) => {
    child.on("close", (code, signal) => {
      const text = Buffer.concat(output)
        .toString()
        .replace(/^ready\n/, "");
      if (code === 0) resolve(text.trim());
      else reject(new Error(`ended with ${code ?? signal}: ${text}`));
    });
  });
}

/** A node that is stopped when its test is over. It listens on nothing, and trusts nobody, unless the options say so. */
export async function testNode(options: Partial<NodeOptions> = {}): Promise<Node> {
  const node = await startNode({
    identity: options.identity ?? (await loadIdentity(testFolder())),
    listen: [],
    trusts: () => false,
    pairingOpen: () => false,
    ...options,
  });
  onTestFinished(() => node.stop());
  return node;
}
