// What is particular to a container of a driven job: each command is a container of its own, and several run at once.
import { expect, it } from "vitest";
import { newAttemptId } from "../../protocol/ids.ts";
import type { RunningCommand, Site } from "../../runner/keeper/backends/backend.ts";
import { FURNISHED_IMAGE } from "../rig/engine.ts";
import { collect, type Given, requestOf, says, withEngines } from "./containers.ts";

const never = new AbortController().signal;

await withEngines(["docker", "podman"], (containers, kind) => {
  type Own = { readonly env?: [string, string][]; readonly cwd?: string; readonly cancelled?: AbortSignal };

  async function driven(
    given: Given,
    use: (begin: (script: string, own?: Own) => Promise<RunningCommand>, site: Site) => Promise<void>,
  ): Promise<void> {
    const site = await containers().open(requestOf({ ...given, steps: [], driven: true }));
    try {
      await site.enter(never);
      const begin = (script: string, { env = [], cwd, cancelled = never }: Own = {}): Promise<RunningCommand> =>
        site.start(
          {
            command: { shell: script },
            stdin: false,
            own: { attemptId: newAttemptId(), env, cwd, mark() {} },
          },
          cancelled,
        );
      await use(begin, site);
    } finally {
      await site.end();
      await site.close();
    }
  }

  it("hands the files of each command to those that start after its end", async () => {
    await driven({}, async (begin) => {
      const run = async (script: string, own?: Own) => (await collect(await begin(script, own))).stdout;
      await run("mkdir -p /opt/a; echo one > /opt/a/file; echo here > in-workspace");
      expect(await run("cat /opt/a/file in-workspace; rm /opt/a/file; exit 3")).toBe("one\nhere\n");
      expect(await run("ls -A /opt/a | wc -l")).toBe("0\n");
      expect(await run("pwd", { cwd: "/opt/a" })).toBe("/opt/a\n");
      expect(await run("mkdir below; pwd")).toBe("/workspace\n");
      expect(await run("pwd", { cwd: "below" })).toBe("/workspace/below\n");
    });
  });

  it("keeps a command's variables from those after it, also where its files are kept", async () => {
    await driven({ env: [["JOB", "job"]], container: { image: FURNISHED_IMAGE } }, async (begin) => {
      const run = async (script: string, own?: Own) => (await collect(await begin(script, own))).stdout;
      const env: [string, string][] = [
        ["OWN", "secret"],
        ["FROM_IMAGE", "no"],
        ["JOB", "other"],
      ];
      expect(await run('touch /x; echo "$OWN $FROM_IMAGE $JOB"', { env })).toBe("secret no other\n");
      const none = kind === "docker" ? "none" : "";
      expect(await run('ls /x; touch /y; echo "${OWN-none} $FROM_IMAGE $JOB"')).toBe(`/x\n${none} yes job\n`);
      expect(await run('echo "${OWN-none} $FROM_IMAGE $JOB"')).toBe(`${none} yes job\n`);
      expect(await run('echo "$OWN"', { env: [["OWN", "again"]] })).toBe("again\n");
    });
  });

  it("brings together what commands change at the same time", async () => {
    await driven({}, async (begin) => {
      await collect(
        await begin("mkdir /opt /opt/old; cd /opt; for f in a b c d; do echo $f > $f; done; echo x > old/x"),
      );
      // Other sizes: an engine whose storage compares files may take one of the same size and second for the same.
      const scripts = [
        "echo up; echo AA > /opt/a; rm /opt/b; mkdir -p /opt/new/deep; echo 1 > /opt/new/deep/one; chmod 750 /opt/new; chown 12:34 /opt/new/deep/one; ln -s one /opt/new/deep/link; while ! [ -e go ]; do sleep 0.05; done",
        "echo up; echo CC > /opt/c; rm -r /opt/old; echo 2 > /opt/two; chmod 4711 /opt/two; while ! [ -e go ]; do sleep 0.05; done",
      ];
      const running = await Promise.all(scripts.map((script) => begin(script)));
      const ends = running.map(collect);
      await Promise.all(running.map((one) => says(one, "up\n")));
      // Neither has ended: a third one sees nothing of them.
      expect((await collect(await begin("cat /opt/*; ls /opt; touch go"))).stdout).toBe(
        "a\nb\nc\nd\na\nb\nc\nd\nold\n",
      );
      await Promise.all(ends);
      const { stdout, settled } = await collect(
        await begin(
          "cd /opt; cat a c d two new/deep/link; ls; stat -c '%a %u:%g' new new/deep/one two; readlink new/deep/link; id -u",
        ),
      );
      expect(settled).toEqual({ kind: "exited", code: 0, heldOpen: false });
      expect(stdout.split("\n")).toEqual([
        ...["AA", "CC", "d", "2", "1"],
        ...["a", "c", "d", "new", "two"],
        "750 0:0",
        // Podman gives to the container's user what is merged; which of the two that is, is decided by who ends first.
        kind === "docker" ? "644 12:34" : expect.stringMatching(/^644 (12:34|0:0)$/),
        "4711 0:0",
        ...["one", "0", ""],
      ]);
    });
  });

  it("shares the image's volumes among commands at the same time", async () => {
    await driven({ container: { image: FURNISHED_IMAGE } }, async (begin) => {
      const waiting = await begin("echo up; while ! [ -e /data/go ]; do sleep 0.05; done; cat /data/go");
      const end = collect(waiting);
      await says(waiting, "up\n");
      // A shell makes the file first, and then writes it.
      await collect(await begin("echo gone > /data/new; mv /data/new /data/go"));
      expect((await end).stdout).toBe("up\ngone\n");
    });
  });

  it("starts ten at once, each whole, and goes on after one that was cancelled before its start", async () => {
    await driven({}, async (begin) => {
      const cancelled = AbortSignal.abort(new Error("cancelled"));
      const all = await Promise.all(
        Array.from({ length: 10 }, async (_, index) => {
          const running = await begin(`echo ${index} > /opt-${index}; echo ${index}`, index === 7 ? { cancelled } : {});
          return (await collect(running)).stdout;
        }),
      );
      expect(all).toEqual(Array.from({ length: 10 }, (_, index) => (index === 7 ? "" : `${index}\n`)));
      const { stdout } = await collect(await begin("cat /opt-* | wc -l"));
      expect(Number(stdout)).toBe(9);
    });
  });

  it("leaves nothing", async () => {
    expect(await containers().left()).toEqual([]);
    expect(containers().logged).toEqual([]);
  });
});
