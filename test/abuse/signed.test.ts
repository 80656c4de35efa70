// Attacks on a runner that takes signed jobs only, by somebody who sits on a trusted connection: a hub in between, or whoever stole
// the connection. What he has of others is what went over the wire.
import type { KeyObject } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect } from "vitest";
import type { SortieError } from "../../protocol/errors.ts";
import { loadIdentity, loadKey, newKey, signingKeyOf } from "../../protocol/identity.ts";
import { newAttemptId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { callRaw } from "../../protocol/make-call.ts";
import type { JobRequest, JobSignature } from "../../protocol/messages.ts";
import { checkSignature, signJob } from "../../protocol/signature.ts";
import { admitAll } from "../../runner/admission.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper, type KeeperLink } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner } from "../../runner/runner.ts";
import { parseSigners, signatureCheck } from "../../runner/signatures.ts";
import { Rig } from "../rig/rig.ts";
import { dial, finish, request } from "../runner/calls.ts";
import { drivenRequest, within } from "../runner/driven-jobs.ts";
import { attack } from "./attack.ts";

interface Key {
  readonly key: KeyObject;
  readonly by: string;
}

const folder = mkdtempSync(join(tmpdir(), "sortie-signed-"));
let me: string;
let other: string;
let mine: Key;
let hubs: Key;
let keeper: KeeperLink;
let runner: Runner;
let clock: () => number = Date.now;

async function peerIn(name: string): Promise<Key> {
  const home = join(folder, name);
  mkdirSync(home, { mode: 0o700 });
  const identity = await loadIdentity(home);
  return { key: signingKeyOf(identity), by: identity.peer };
}
/** A front that takes jobs signed by `mine`; the hub is trusted to connect, and not to sign. */
const front = (keeper: KeeperLink): Promise<Runner> =>
  createRunner({
    name: "w1",
    labels: {},
    slots: 4,
    admission: admitAll,
    signedBy: (asked) => checkSignature(asked, { runner: me, accepts: (peer) => peer === mine.by, now: () => clock() }),
    keeper,
    leaseMs: limits.leaseMs,
    journals: defaultJournalLimits,
  });
const openKeeper = (): Promise<KeeperLink> => embeddedKeeper(join(folder, "keeper"), undefined, join(folder, "audit"));

beforeAll(async () => {
  [mine, hubs, { by: me }, { by: other }] = (await Promise.all(["mine", "hubs", "runner", "other"].map(peerIn))) as [
    Key,
    Key,
    Key,
    Key,
  ];
  keeper = await openKeeper();
  runner = await front(keeper);
});
afterAll(async () => {
  await runner.close();
  rmSync(folder, { recursive: true, force: true });
});

const signed = (wanted: JobRequest, at?: number): JobSignature => signJob(mine, me, wanted, at);
/** As the hub, over its own connection, unless somebody else is named. */
const send = (wanted: JobRequest, signature?: JobSignature, peer = "the hub") =>
  callRaw(dial(runner, peer), "/job/run", {
    request: wanted,
    window: limits.windowMinimum,
    holder: "one",
    ...(signature ? { signature } : {}),
  });

/** What the hub is answered. */
async function refusal(sent: Promise<unknown>): Promise<string> {
  const answer = await sent.then(
    () => "taken",
    ({ code, message }: SortieError) => `${code}: ${message}`,
  );
  return answer;
}
const ALTERED = /^SIGNATURE: The job is not the one that was signed/;
const works = async (): Promise<void> => {
  const wanted = request("echo works");
  expect((await finish(await send(wanted, signed(wanted)))).stdout).toBe("works\n");
};

describe("a forged job", () => {
  attack("a hub sends a job of its own, without a signature", "SIGNATURE, not signed", async () => {
    expect(await refusal(send(request("true")))).toMatch(/^SIGNATURE: .* is not signed/);
    await works();
  });
  attack(
    "a hub signs a job with its own key, which the runner trusts to connect",
    "SIGNATURE, a key that is not accepted",
    async () => {
      const wanted = request("true");
      expect(await refusal(send(wanted, signJob(hubs, me, wanted)))).toBe(
        `SIGNATURE: The job is signed by ${hubs.by}, whose signature this runner does not accept.`,
      );
    },
  );
  attack("a hub signs with its own key, and says it was another's", "SIGNATURE, altered", async () => {
    const wanted = request("true");
    expect(await refusal(send(wanted, { ...signJob(hubs, me, wanted), by: mine.by }))).toMatch(ALTERED);
  });
  attack("the signer is a peer ID that holds no Ed25519 key", "SIGNATURE", async () => {
    const wanted = request("true");
    const by = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    expect(await refusal(send(wanted, { ...signed(wanted), by }))).toMatch(/^SIGNATURE: .* does not accept/);
  });
  attack("the signature is no signature", "PROTOCOL, or SIGNATURE", async () => {
    const wanted = request("true");
    expect(await refusal(send(wanted, { ...signed(wanted), value: "A".repeat(86) }))).toMatch(ALTERED);
    expect(await refusal(send(wanted, { ...signed(wanted), value: "" }))).toMatch(/^PROTOCOL/);
    await works();
  });
});

describe("a job that was changed on its way", () => {
  const changes: Record<string, (wanted: JobRequest) => Partial<JobRequest>> = {
    "its command": () => ({ steps: [{ argv: ["sh", "-c", "id"] }] }),
    "one argument more": () => ({ steps: [{ argv: ["echo", "a", "b"] }] }),
    "a step more": ({ steps }) => ({ steps: [...steps, { shell: "id" }] }),
    "its variables": () => ({ env: [["LD_PRELOAD", "/tmp/x.so"]] }),
    "its directory": () => ({ cwd: "/" }),
    "its image": () => ({ container: { ...image, image: "evil/alpine" } }),
    "a host in place of an image": () => ({ container: undefined, ssh: { host: "evil" } }) as never,
    "its name": () => ({ job: "deploy" as never }),
    "its attempt's number": () => ({ attempt: 2 }),
    "its attempt's id": () => ({ attemptId: newAttemptId() }),
    "its time-out and its lease": () => ({ timeoutMs: 1, leaseMs: null }),
    "that it has stdin": () => ({ stdin: true }),
    "whose command it is": () => ({ within: newAttemptId(), container: undefined }) as never,
  };
  const image = {
    image: "alpine:3",
    pull: "never",
    mounts: [],
    tmpfs: [],
    services: [],
    readOnly: false,
    capabilities: { add: [], drop: [] },
    newPrivileges: false,
    privileged: false,
  } as never as NonNullable<JobRequest["container"]>;
  for (const [what, change] of Object.entries(changes))
    attack(`a hub changes ${what}`, "SIGNATURE, altered", async () => {
      const wanted = request("", { steps: [{ argv: ["echo", "a"] }], container: image });
      const changed = JSON.parse(JSON.stringify({ ...wanted, ...change(wanted) })) as JobRequest;
      expect(await refusal(send(changed, signed(wanted)))).toMatch(ALTERED);
    });
  attack("a hub changes the time of the signature", "SIGNATURE, altered", async () => {
    const wanted = request("true");
    const signature = signed(wanted);
    expect(await refusal(send(wanted, { ...signature, at: signature.at + 1 }))).toMatch(ALTERED);
    await works();
  });
});

describe("a job that is sent again", () => {
  attack("a hub sends a signed job to another runner", "SIGNATURE, altered", async () => {
    const wanted = request("true");
    expect(await refusal(send(wanted, signJob(mine, other, wanted)))).toMatch(ALTERED);
  });
  attack("a hub sends a signed job twice, in its own name and in another's", "DUPLICATE, it ran once", async () => {
    const wanted = request("echo x >> ran", { cwd: folder });
    const signature = signed(wanted);
    await finish(await send(wanted, signature));
    for (const peer of ["the hub", "another"])
      expect(await refusal(send(wanted, signature, peer))).toMatch(/^DUPLICATE/);
    expect(statSync(join(folder, "ran")).size).toBe(2);
  });
  attack(
    "a hub sends it again after a restart of the front, and of the keeper, whose journals are gone",
    "DUPLICATE, by the audit",
    async () => {
      const wanted = request("echo x >> again", { cwd: folder });
      const signature = signed(wanted);
      await finish(await send(wanted, signature));
      await runner.close();
      keeper = await openKeeper();
      runner = await front(keeper);
      expect(await refusal(send(wanted, signature))).toMatch(/^DUPLICATE/);
      await runner.close();
      rmSync(join(folder, "keeper"), { recursive: true });
      keeper = await openKeeper();
      runner = await front(keeper);
      expect(await refusal(send(wanted, signature))).toMatch(/^DUPLICATE/);
      expect(statSync(join(folder, "again")).size).toBe(2);
      await works();
    },
  );
  attack("a hub puts a command into a signed function's job", "SIGNATURE; the signer's own goes on", async () => {
    const job = drivenRequest({ env: [] });
    const call = await send(job, signed(job));
    const injected = within(job, "id");
    expect(await refusal(send(injected))).toMatch(/^SIGNATURE: .* is not signed/);
    // Another job's signature does not fit it, nor does that of the job it is put into.
    expect(await refusal(send(injected, signed(job)))).toMatch(ALTERED);
    const command = within(job, "echo own");
    for (let said = ""; !said.includes('"ready"'); ) said += Buffer.from((await call.read()) ?? "").toString();
    expect((await finish(await send(command, signed(command)))).stdout).toBe("own\n");
    call.abort(new Error("done"));
  });
});

describe("time", () => {
  const now = 1_700_000_000_000;
  const late = limits.signatureMs + 1_000;
  attack("a hub keeps a signed job, and sends it when it likes", "SIGNATURE, with both times", async () => {
    clock = () => now;
    try {
      const wanted = request("true");
      expect(await refusal(send(wanted, signed(wanted, now - late)))).toBe(
        "SIGNATURE: The job was signed at 2023-11-14T22:08:19.000Z, and this runner's clock says 2023-11-14T22:13:20.000Z: more than 5 minutes ago.",
      );
      expect(await refusal(send(wanted, signed(wanted, now + late)))).toMatch(/: more than 5 minutes from now\.$/);
      expect(await refusal(send(wanted, signed(wanted, Number.MAX_SAFE_INTEGER)))).toMatch(/^PROTOCOL/);
      for (const at of [now - limits.signatureMs, now + limits.signatureMs]) {
        const inTime = request("true");
        expect((await finish(await send(inTime, signed(inTime, at)))).exit).toMatchObject({ code: 0 });
      }
    } finally {
      clock = Date.now;
    }
  });
});

describe("keys", () => {
  attack("a signer that is trusted no more signs a job", "SIGNATURE, from the next job on", () => {
    const trusted = new Set([mine.by]);
    const check = signatureCheck(parseSigners("") ?? new Set(), me, trusted);
    const wanted = request("true");
    const asked = { request: wanted, window: limits.windowMinimum, holder: "one", signature: signed(wanted) };
    expect(check(asked)).toBe(mine.by);
    trusted.delete(mine.by);
    expect(() => check(asked)).toThrow(/does not accept/);
    // Where keys are named, trust alone is not enough.
    trusted.add(mine.by);
    expect(() => signatureCheck(parseSigners(hubs.by) ?? new Set(), me, trusted)(asked)).toThrow(/does not accept/);
    for (const bad of ["nobody", ",", `${hubs.by},`]) expect(() => parseSigners(bad)).toThrow(/takes peer IDs/);
  });

  attack("a key file is readable by others, is no key, or is there already", "STATE_INVALID, USAGE", async () => {
    const path = join(folder, "signing.key");
    const { peer } = await newKey(path);
    expect(loadKey(path).peer).toBe(peer);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await expect(newKey(path)).rejects.toMatchObject({ code: "USAGE" });
    const { chmodSync, writeFileSync } = await import("node:fs");
    chmodSync(path, 0o644);
    expect(() => loadKey(path)).toThrow(/can be read by others/);
    chmodSync(path, 0o600);
    writeFileSync(path, "bm8ga2V5");
    expect(() => loadKey(path)).toThrow(/damaged/);
  });

  attack(
    "a trusted coordinator runs jobs on a runner that names another key",
    "SIGNATURE, until it signs with that key",
    async () => {
      await using rig = new Rig();
      const file = join(rig.folder, "signing.key");
      const { text } = await rig.coordinator(["id", "--new-key", file]);
      await rig.pairedRunner("w1", ["-A", `--require-signature=${text.trim()}`]);
      const refused = await rig.coordinator(["exec", "w1", "--", "true"]);
      expect(refused).toMatchObject({ code: 125, stderr: expect.stringContaining("error[SIGNATURE]") });
      expect((await rig.coordinator(["exec", "w1", "--sign-with", file, "--", "echo", "hi"])).text).toBe("hi\n");
      const recipe = rig.recipe(`
      import { job, recipe, sh } from "sortie";
      export default recipe({
        plain: job({ run: sh\`echo plain\` }),
        driven: job({ async run({ $ }) { await $\`echo driven\`; } }),
      });`);
      expect((await rig.coordinator(["run", recipe, "--sign-with", file])).code).toBe(0);
    },
  );
});
