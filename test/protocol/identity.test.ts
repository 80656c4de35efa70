import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateKeyPair, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import { describe, expect, it } from "vitest";
import type { SortieError } from "../../protocol/errors.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { sourceUrl, testFolder, together } from "../rig/peers.ts";

async function refusal(folder: string): Promise<SortieError> {
  const error: SortieError = await loadIdentity(folder).then(
    () => expect.unreachable(),
    (error) => error,
  );
  expect(error.code).toBe("STATE_INVALID");
  return error;
}

describe("the identity", () => {
  it("is made once, and is the same ever after", async () => {
    const folder = testFolder();
    const { peer } = await loadIdentity(folder);
    expect(peer).toMatch(/^12D3Koo/);
    expect((await loadIdentity(folder)).peer).toBe(peer);
  });

  it("is for its owner alone: the file, and a folder that it makes", async () => {
    const folder = join(testFolder(), "new", "home");
    await loadIdentity(folder);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, "identity.key")).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["identity.key"]);
  });

  it("is one, also for processes that start at the same time", async () => {
    const home = testFolder();
    const folders = Array.from({ length: 40 }, (_, index) => join(home, `${index}`));
    const code = `import { loadIdentity } from ${sourceUrl("protocol/identity.ts")};
      for (const folder of ${JSON.stringify(folders)}) console.log((await loadIdentity(folder)).peer);`;
    const outputs = await together([code, code, code, code]);
    expect(new Set(outputs).size).toBe(1);
    expect(new Set(outputs[0]?.split("\n")).size).toBe(40);
    for (const folder of folders) expect(readdirSync(folder)).toEqual(["identity.key"]);
  });

  for (const mode of [0o640, 0o604, 0o660]) {
    it(`is refused when others can read it: ${mode.toString(8)}`, async () => {
      const folder = testFolder();
      await loadIdentity(folder);
      chmodSync(join(folder, "identity.key"), mode);
      const error = await refusal(folder);
      expect(error.message).toContain("can be read by others");
      expect(error.hint).toContain("chmod 600");
    });
  }

  it("is refused where others could put another one, or pins, in its place", async () => {
    const folder = testFolder();
    await loadIdentity(folder);
    chmodSync(folder, 0o770);
    const error = await refusal(folder);
    expect(error.message).toContain("can be written to by others");
    expect(error.hint).toContain("chmod 700");
  });

  for (const [what, damage] of Object.entries<(key: Buffer) => Uint8Array | string>({
    "an empty file": () => "",
    "text that is none": () => "hello",
    "a key cut short": (key) => key.subarray(0, 40),
    "one bit of the private half flipped": (key) => flipped(key, 10),
    "one bit of the public half flipped": (key) => flipped(key, 60),
    "a key with more behind it": (key) => Buffer.concat([key, Buffer.alloc(8)]),
  })) {
    it(`is refused when it is damaged: ${what}`, async () => {
      const folder = testFolder();
      await loadIdentity(folder);
      const path = join(folder, "identity.key");
      const damaged = Buffer.from(damage(Buffer.from(readFileSync(path, "utf8"), "base64"))).toString("base64");
      writeFileSync(path, `${damaged}\n`);
      const error = await refusal(folder);
      expect(error.message).toContain("is damaged");
      expect(error.hint).toContain("pair again");
    });
  }

  it("is refused when it is a key of another kind", async () => {
    const folder = testFolder();
    const key = Buffer.from(privateKeyToProtobuf(await generateKeyPair("secp256k1"))).toString("base64");
    writeFileSync(join(folder, "identity.key"), key, { mode: 0o600 });
    expect((await refusal(folder)).message).toContain("is damaged");
  });

  it("says so where the folder cannot be used, and that it is no bug", async () => {
    const folder = testFolder();
    writeFileSync(join(folder, "file"), "");
    expect((await refusal(join(folder, "file"))).message).toContain("cannot be used");
    mkdirSync(join(folder, "identity.key"), { mode: 0o700 });
    expect((await refusal(folder)).message).toContain("cannot be used");
  });
});

function flipped(key: Buffer, at: number): Buffer {
  const copy = Buffer.from(key);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
