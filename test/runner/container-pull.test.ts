// Pulls from a registry of the test's own: progress, failures, and credentials as Docker's configuration has them. With
// Docker only: Podman takes no registry without TLS.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { call } from "../rig/engine.ts";
import { PASSWORD, Registry, USER } from "../rig/registry.ts";
import { until } from "../rig/rig.ts";
import { requestOf, withEngines } from "./containers.ts";

await withEngines(["docker"], (containers) => {
  let registry: Registry;
  let host: string;
  let image: string;
  let folder: string;
  const before = { config: process.env["DOCKER_CONFIG"], path: process.env["PATH"] };

  beforeAll(async () => {
    registry = new Registry();
    host = await registry.start();
    image = `${host}/app`;
    folder = mkdtempSync(join(tmpdir(), "sortie-docker-config-"));
    process.env["DOCKER_CONFIG"] = folder;
    process.env["PATH"] = `${folder}:${before.path}`;
  });
  afterAll(async () => {
    if (before.config === undefined) delete process.env["DOCKER_CONFIG"];
    else process.env["DOCKER_CONFIG"] = before.config;
    process.env["PATH"] = before.path;
    await registry.stop();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    registry.pace = { everyMs: 0 };
    registry.asked.length = 0;
    registry.cut = 0;
    containers().notes.length = 0;
    configure({ auths: { [host]: { auth: auth(PASSWORD) } } });
  });
  afterEach(async () => {
    await call(containers().host, "DELETE", `/images/${image}:latest?force=1`);
    expect(await containers().left()).toEqual([]);
  });

  const auth = (password: string): string => Buffer.from(`${USER}:${password}`).toString("base64");
  const configure = (config: unknown): void => writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const helper = (script: string): void => {
    const path = join(folder, "docker-credential-sortietest");
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
  };
  /** Opened and closed: the image holds nothing that could be run. */
  const open = async (pull: "always" | "missing" | "never" = "missing", name = image): Promise<void> => {
    const site = await containers().open(requestOf({ container: { image: name, pull } }));
    await site.end();
    await site.close();
  };
  const refusal = async (opening: Promise<void>): Promise<string> => {
    const error = await opening.then(
      () => undefined,
      (why: Error & { refusal?: { stage: string } }) => why,
    );
    expect(error?.refusal?.stage).toBe("image");
    expect(error?.message).not.toContain(PASSWORD);
    return error?.message ?? "";
  };

  it("tells how it goes, at most once a second, and that it is done", async () => {
    registry.pace = { everyMs: 100 };
    await open();
    const { notes } = containers();
    expect(notes[0]).toBe(`image: pulling ${image}`);
    const [, seconds] = new RegExp(`^image: pulled ${image} in (\\d+\\.\\d) s$`).exec(notes.at(-1) ?? "") ?? [];
    expect(Number(seconds)).toBeGreaterThanOrEqual(2.4);
    const between = notes.slice(1, -1);
    expect(between.length).toBeLessThanOrEqual(Number(seconds));
    // A slow engine may have told nothing of the layer in the first second, but takes more than one to get it.
    const isOfTheLayer = (note: string): boolean => /: [01] of 1 layers, \d\.\d of 3\.\d MB$/.test(note);
    expect(between.filter(isOfTheLayer).length).toBeGreaterThanOrEqual(1);
    for (const note of between) expect(isOfTheLayer(note) || /: 0 of [01] layers$/.test(note), note).toBe(true);
  });

  it("pulls what is missing, what is there only where it must always, and never where it may not", async () => {
    expect(await refusal(open("never"))).toContain('pull: "never"');
    expect(registry.asked).toEqual([]);
    await open("missing");
    const asked = registry.asked.length;
    expect(asked).toBeGreaterThan(0);
    await open("missing");
    await open("never");
    expect(registry.asked.length).toBe(asked);
    await open("always");
    expect(registry.asked.length).toBeGreaterThan(asked);
  });

  it("refuses the job where the registry has no such image", async () => {
    expect(await refusal(open("missing", `${host}/other:1`))).toMatch(
      /other:1 cannot be pulled: .*(unknown|not found)/,
    );
  });

  it("refuses the job with wrong credentials, and with none", async () => {
    configure({ auths: { [host]: { auth: auth("wrong") } } });
    expect(await refusal(open())).toContain("cannot be pulled");
    configure({});
    expect(await refusal(open())).toContain("cannot be pulled");
    rmSync(join(folder, "config.json"));
    expect(await refusal(open())).toContain("cannot be pulled");
  });

  it("finds credentials under the registry's URL too", async () => {
    configure({ auths: { [`https://${host}/v1/`]: { username: USER, password: PASSWORD } } });
    await open();
  });

  it("asks the registry's helper, and the one for all", async () => {
    helper(`cat > ${folder}/asked; echo '{"ServerURL":"x","Username":"${USER}","Secret":"${PASSWORD}"}'`);
    configure({ credHelpers: { [host]: "sortietest" } });
    await open();
    expect(readFileSync(join(folder, "asked"), "utf8")).toBe(host);
    configure({ credsStore: "sortietest", auths: { [host]: {} } });
    await open("always");
  });

  it("tells a helper that fails, and none of its words", async () => {
    configure({ credsStore: "sortietest" });
    helper(`echo "${PASSWORD}"; echo "${PASSWORD}" >&2; exit 3`);
    expect(await refusal(open())).toContain("docker-credential-sortietest exited with 3");
    helper(`echo "not json ${PASSWORD}"`);
    expect(await refusal(open())).toContain("gave no answer to read");
    helper("echo 'credentials not found in native keychain'; exit 1");
    expect(await refusal(open())).toContain("cannot be pulled");
    configure({ credsStore: "nosuchhelper" });
    expect(await refusal(open())).toContain("docker-credential-nosuchhelper could not be run");
    writeFileSync(join(folder, "config.json"), `{ "auths": { "x": { "auth": "${PASSWORD}" `);
    expect(await refusal(open())).toContain("config.json");
  });

  it("is cut off when the job is cancelled", async () => {
    registry.pace = "trickle";
    const cancelled = new AbortController();
    const opening = containers().open(requestOf({ container: { image, pull: "missing" } }), cancelled.signal);
    opening.catch(() => {});
    await until(
      () => registry.asked.some((one) => one === registry.layerAsked),
      (asked) => asked,
    );
    cancelled.abort();
    // The layer itself would take an hour.
    await expect(opening).rejects.toThrow();
    expect(
      await until(
        () => registry.cut,
        (cut) => cut > 0,
      ),
    ).toBeGreaterThan(0);
  });
});
