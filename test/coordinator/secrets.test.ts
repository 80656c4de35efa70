// The values of a run's secrets: where they are read from, what cannot be one, and what a runner is sent.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fingerprintOfJob } from "../../coordinator/fingerprint.ts";
import { type PlanJob, planOf } from "../../coordinator/plan.ts";
import { type JobOptions, job, recipe, type SecretOptions, secret } from "../../coordinator/recipe/sdk.ts";
import { openSecrets, type Secrets } from "../../coordinator/secrets.ts";
import { renderPlan } from "../../coordinator/views/plan.ts";
import { planDocument } from "../../coordinator/views/plan-document.ts";
import type { SortieError } from "../../protocol/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "sortie-values-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "recipe.ts");
const planned = (options: Partial<JobOptions>) =>
  planOf({ path, source: "", recipe: recipe({ one: job({ run: "true", ...options }) }) });
const one = (options: Partial<JobOptions>): PlanJob => planned(options).jobs[0] as PlanJob;
const file = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(folder, name), content);
  return name;
};

async function read(options: Partial<JobOptions>, environment: NodeJS.ProcessEnv = {}): Promise<Secrets> {
  const secrets = openSecrets(path, { PATH: process.env["PATH"], ...environment });
  await secrets.read([one(options)]);
  return secrets;
}
const given = async (source: string | SecretOptions, environment?: NodeJS.ProcessEnv): Promise<string | undefined> =>
  (await read({ env: { X: secret(source) } }, environment)).deliveredTo(one({ env: { X: secret(source) } }))[0]?.value;
const refusal = async (source: string | SecretOptions, environment?: NodeJS.ProcessEnv): Promise<string> =>
  given(source, environment).then(
    () => "none",
    (error: SortieError) => `${error.code} ${error.message}`,
  );

describe("a secret's value", () => {
  it("is a variable's, a file's, or what a command prints in the recipe's folder", async () => {
    file("token.txt", "from-a-file\n");
    expect(await given("CI_TOKEN", { CI_TOKEN: " from-a-variable\n" })).toBe(" from-a-variable\n");
    expect(await given({ env: "CI_TOKEN", name: "OTHER" }, { CI_TOKEN: "renamed" })).toBe("renamed");
    expect(await given({ file: "token.txt" })).toBe("from-a-file");
    expect(await given({ file: join(folder, "token.txt") })).toBe("from-a-file");
    expect(await given({ command: ["sh", "-c", 'cat token.txt; echo "-$#"', "a b", "$HOME"] })).toBe(
      "from-a-file\n-1\n",
    );
    expect(await given({ command: ["printenv", "VAULT"] }, { VAULT: "from-a-command" })).toBe("from-a-command");
  });

  it("keeps its last newline where it has several lines: a key is none without it", async () => {
    const key = "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n";
    file("key", key);
    expect(await given({ file: "key" })).toBe(key);
    expect(await given({ command: ["cat", "key"] })).toBe(key);
    file("two", "one-line\r\n");
    expect(await given({ file: "two" })).toBe("one-line");
  });

  it("is what a command prints, however much it says besides, and whatever it leaves behind", async () => {
    const source = {
      command: ["sh", "-c", "head -c 3000000 /dev/zero >&2; sleep 9172 & echo the-process-$!"],
    } as const;
    const value = await given(source);
    expect(value).toMatch(/^the-process-\d+$/);
    process.kill(Number(value?.split("-").at(-1)));
  });

  it("is read once a run, whoever asks for it", async () => {
    const command = ["sh", "-c", "echo x >> count; echo counted"] as const;
    const secrets = openSecrets(path, { PATH: process.env["PATH"] });
    const asks = one({ env: { A: secret({ command }) }, secrets: [secret({ name: "B", command })] });
    await secrets.read([asks, asks]);
    await secrets.read([asks]);
    expect(await given({ command: ["sh", "-c", "wc -l < count; echo 12345"] })).toMatch(/^\s*1\n12345\n$/);
  });

  it("is missing where it cannot be had: that names the job and where it should be, and no value", async () => {
    expect(await refusal("CI_TOKEN")).toBe("SECRET_MISSING one asks for the secret CI_TOKEN, which is not set here.");
    expect(await refusal("CI_TOKEN", { CI_TOKEN: "" })).toContain("CI_TOKEN, which is empty here");
    expect(await refusal({ file: "nowhere" })).toMatch(
      /SECRET_MISSING one asks .* X, whose file \S+nowhere cannot be read \(ENOENT\)/,
    );
    expect(
      await refusal({ name: "KEY", command: ["sh", "-c", "echo half-of-it; echo half-of-it: no >&2; exit 3"] }),
    ).toBe("SECRET_MISSING one asks for the secret KEY, whose command sh failed: exit 3.");
    expect(await refusal({ command: ["sh", "-c", "echo not signed in >&2; exit 1"] })).toMatch(
      /exit 1: not signed in\.$/,
    );
    expect(await refusal({ command: ["no-such-program-here"] })).toMatch(/no-such-program-here failed: ENOENT/);
    expect(await refusal({ command: ["true"] })).toContain("SECRET_MISSING one asks for the secret X, which is empty");
    expect((await read({ env: {} })).redaction).toBeUndefined();
  });

  it("is refused where it could not be hidden, and no refusal tells it", async () => {
    for (const [value, why] of [
      ["abcde", /SECRET_INVALID .* CI_TOKEN, which is shorter than 6 characters/],
      [" ab \n", /shorter than 6/],
      ["x".repeat(32 * 1024 + 1), /longer than 32768 bytes/],
    ] as const) {
      const told = await refusal("CI_TOKEN", { CI_TOKEN: value });
      expect(told).toMatch(why);
      expect(told).not.toContain(value.trim());
    }
    expect(await refusal({ file: file("nul", "with-a-\0-inside") })).toContain("holds a NUL character");
    expect(await refusal({ file: file("bytes", Uint8Array.of(200, 200, 200, 200, 200, 200, 200)) })).toContain(
      "no text in UTF-8",
    );
    expect(await refusal("X", { X: "caf\ufffd-au-lait" })).toContain("no text in UTF-8");
    expect(await refusal({ command: ["head", "-c", "1000000", "/dev/zero"] })).toContain("longer than 32768 bytes");
    const big = Object.fromEntries(["A", "B", "C"].map((name) => [name, name.repeat(30_000)]));
    const env = { A: secret("A"), B: secret("B"), C: secret("C") };
    await expect(read({ env }, big)).rejects.toThrow("one asks for secrets of 90000 bytes together");
    // What one job may have, for job after job, until the run has more than it can look for.
    const many = openSecrets(
      path,
      Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`K${at}`, randomBytes(12_000).toString("base64")])),
    );
    const all = Array.from({ length: 40 }, (_, at) => one({ env: { K: secret(`K${at}`) } }));
    await expect(many.read(all)).rejects.toMatchObject({
      code: "SECRET_INVALID",
      message: expect.stringMatching(/^one asks for the secret K\d+, which with the others of this run is too much/),
    });
    expect(many.values.size).toBeGreaterThan(3);
  });

  it("in a job's name keeps the run from beginning: names are in every record", async () => {
    const secrets = openSecrets(path, { T: "hush-hush" });
    const named = { ...one({ env: { T: secret("T") } }), name: "deploy-hush-hush" as PlanJob["name"] };
    const error = await secrets.read([named]).catch((thrown: SortieError) => thrown);
    expect(error).toMatchObject({
      code: "SECRET_INVALID",
      message: "The name of the job deploy-*** holds the value of a secret.",
    });
  });
});

describe("a secret of a job", () => {
  const options: Partial<JobOptions> = {
    env: { PLAIN: "1", TOKEN: secret("CI_TOKEN") },
    secrets: [secret("DEPLOY_KEY"), secret({ name: "CERT", file: "cert.pem" })],
    stdin: secret({ name: "PASSPHRASE", command: ["pass", "show", "ci"] }),
    container: {
      image: "alpine:3",
      services: { db: { image: "postgres:17", env: { PASSWORD: secret("DB"), USER: "me" } } },
    },
  };

  it("is in plans by its name and where it is read from, and tells two jobs apart", () => {
    expect(planDocument(planned(options)).jobs[0]).toMatchObject({
      variables: ["PLAIN"],
      stdin: { secret: "PASSPHRASE" },
      secrets: [
        { name: "TOKEN", from: "CI_TOKEN" },
        { name: "PASSWORD", from: "DB", service: "db" },
        { name: "DEPLOY_KEY", from: "DEPLOY_KEY", as: "file" },
        { name: "CERT", from: "CERT", as: "file", file: join(folder, "cert.pem") },
        { name: "PASSPHRASE", from: "PASSPHRASE", as: "stdin", command: ["pass", "show", "ci"] },
      ],
    });
    expect(renderPlan(planned(options))).toContain(
      "reads the secret PASSPHRASE, gets the secrets CI_TOKEN, DB, DEPLOY_KEY",
    );
    const print = (more: Partial<JobOptions>): string => fingerprintOfJob(one({ ...options, ...more }));
    expect(print({ secrets: [secret("DEPLOY_KEY")] })).not.toBe(print({}));
    expect(print({ env: { PLAIN: "1", TOKEN: secret({ name: "CI_TOKEN", file: "t" }) } })).not.toBe(print({}));
  });

  it("goes to its runner apart from all else, with how the job has it", async () => {
    const values = { CI_TOKEN: "hidden", DEPLOY_KEY: "buried", DB: "covered" };
    const { stdin: _, secrets: [key] = [], ...rest } = options;
    const secrets = await read({ ...rest, secrets: [key as never] }, values);
    expect(secrets.deliveredTo(one({ ...rest, secrets: [key as never] }))).toEqual([
      { as: "env", name: "CI_TOKEN", variable: "TOKEN", value: "hidden" },
      { as: "env", name: "DB", variable: "PASSWORD", value: "covered", service: "db" },
      { as: "file", name: "DEPLOY_KEY", value: "buried" },
    ]);
    expect(secrets.redaction?.text("hidden buried covered")).toBe("*** *** ***");
  });

  it("is checked where the recipe makes it", () => {
    const wrong = (more: object) => expect(() => job({ run: "true", ...more }));
    wrong({ secrets: ["TOKEN"] }).toThrow('secrets must be a list of what secret() gives, and one is "TOKEN".');
    wrong({ secrets: secret("T") }).toThrow("secrets must be a list of what secret() gives");
    wrong({ secrets: [secret({ file: "key" })] }).toThrow("The secret of the file key needs a name");
    wrong({ secrets: [secret("A"), secret("A")] }).toThrow("secrets has A twice");
    wrong({ secrets: [secret("A")], env: { A_FILE: "x" } }).toThrow("secrets has A, and env has A_FILE, too");
    wrong({ run: async () => {}, also: { b: { secrets: [3] } } }).toThrow("also.b: secrets must be a list");
    const secretOf = (value: unknown) => expect(() => secret(value as never));
    secretOf({}).toThrow("secret() takes one of env, file and command");
    secretOf({ file: "a", command: ["b"] }).toThrow("secret() takes one of env, file and command");
    secretOf({ path: "a" }).toThrow('secret() has no option "path"');
    secretOf({ file: "" }).toThrow("secret()'s file must be a path");
    secretOf({ command: "op read x" }).toThrow("secret()'s command must be argv");
    secretOf({ command: [] }).toThrow("secret()'s command must be argv");
    secretOf({ name: "a b", file: "a" }).toThrow("secret()'s name must be");
    secretOf("SORTIE_TOKEN").toThrow("secret() takes the name of an environment variable");
    secretOf(3).toThrow("secret() takes a name, or an object");
  });
});
