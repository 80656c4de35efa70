// Containers beside a job's own: reachable by name, waited for, told in the log, and gone with the job.
import { expect, it } from "vitest";
import { findEngine } from "../../runner/keeper/backends/container/engine.ts";
import { requestOf, service, withEngines } from "./containers.ts";

const SERVER = "mkdir /www; echo it works > /www/index.html; echo listening; exec httpd -f -p 8080 -h /www";
const HEALTHY = { command: { argv: ["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"] }, everyMs: 50 };

await withEngines(["docker", "podman"], (containers, kind) => {
  it("is reached by its name once it is healthy, and its lines are notes", async () => {
    containers().notes.length = 0;
    const { settled, stdout, stderr } = await containers().sh("wget -q -O - http://web:8080/", {
      container: { services: [service({ name: "web", command: ["/bin/sh", "-c", SERVER], health: HEALTHY })] },
    });
    expect({ settled, stdout, stderr }).toEqual({
      settled: { kind: "exited", code: 0, heldOpen: false },
      stdout: "it works\n",
      stderr: "",
    });
    expect(containers().notes).toContain("web: listening");
    expect(await containers().left()).toEqual([]);
  });

  it("is stopped at the end, its last words told, also those without a line's end", async () => {
    containers().notes.length = 0;
    const script = "trap 'printf bye; exit 0' TERM; echo up; touch /up; while :; do sleep 0.05; done";
    // Without it the service might be stopped before it has its trap.
    const health = { command: { argv: ["test", "-e", "/up"] }, everyMs: 50 };
    await containers().sh("true", {
      container: { services: [service({ name: "one", command: ["/bin/sh", "-c", script], health })] },
    });
    expect(containers().notes).toEqual(["one: up", "one: bye"]);
  });

  it("refuses the job where one ends, or is not healthy in time, and leaves nothing", async () => {
    containers().notes.length = 0;
    const ends = service({ name: "short", command: ["/bin/sh", "-c", "echo the reason >&2; exit 3"], health: HEALTHY });
    await expect(containers().run({ container: { services: [ends] } })).rejects.toMatchObject({
      refusal: {
        stage: "service",
        message: "the service short ended with code 3 before it was healthy; its lines are in the log",
      },
    });
    expect(containers().notes).toEqual(["short: the reason"]);
    const late = service({ name: "late", command: ["sleep", "4982"], health: HEALTHY, healthyWithinMs: 1_000 });
    const good = service({ name: "good", command: ["sleep", "4982"] });
    await expect(containers().run({ container: { services: [good, late] } })).rejects.toMatchObject({
      refusal: { stage: "service", message: expect.stringContaining("late was not healthy within 1 s") },
    });
    expect(await containers().left()).toEqual([]);
  });

  // Podman keeps no health check in an image of its own format.
  if (kind === "docker")
    it("is waited for as its image's own check says", async () => {
      const { docker } = await findEngine();
      const image = "sortie-test-checked";
      await containers().with({ steps: ["sleep 7903"] }, async (running) => {
        const [made] = await docker.listContainers({ filters: { label: [`sortie.owner=${containers().owner}`] } });
        await docker.getContainer(made?.Id ?? "").commit({
          repo: image,
          // Not the job's own, which would go with it.
          changes: "HEALTHCHECK --interval=1s --retries=100 CMD test -e /ready\nLABEL sortie.attempt= sortie.owner=",
        } as never);
        running.stdout.resume();
        running.stderr.resume();
        await running.kill(0);
      });
      try {
        containers().notes.length = 0;
        const checked = (name: string, script: string, healthyWithinMs: number) =>
          service({ name, image, entrypoint: ["/bin/sh", "-c", script], healthyWithinMs });
        const ready = checked("ready", "sleep 1; echo ready; touch /ready; sleep 7903", 50_000);
        await containers().sh("true", { container: { services: [ready] } });
        expect(containers().notes).toEqual(["ready: ready"]);
        const never = checked("never", "sleep 7903", 2_500);
        await expect(containers().run({ container: { services: [never] } })).rejects.toMatchObject({
          refusal: { stage: "service", message: expect.stringContaining("was not healthy within 2.5 s") },
        });
      } finally {
        await docker.getImage(image).remove({ force: true });
      }
    });

  it("gives back everything when the job is cancelled while it waits", async () => {
    containers().notes.length = 0;
    const cancelled = new AbortController();
    const waits = service({ name: "waits", command: ["/bin/sh", "-c", "echo up; sleep 4983"], health: HEALTHY });
    const request = requestOf({ container: { services: [waits] } });
    const opening = containers().open(request, cancelled.signal);
    opening.catch(() => {});
    await expect.poll(() => containers().notes).toContain("waits: up");
    cancelled.abort();
    await expect(opening).rejects.toThrow();
    expect(await containers().left()).toEqual([]);
  });

  it("reaches another by its name too, with variables and limits of its own", async () => {
    containers().notes.length = 0;
    const web = service({ name: "web", command: ["/bin/sh", "-c", SERVER], health: HEALTHY });
    const asks = service({
      name: "asks",
      env: [["WHERE", "web"]],
      limits: { pids: 50 },
      command: [
        "/bin/sh",
        "-c",
        "until wget -q -O /got http://$WHERE:8080/; do sleep 0.1; done 2>/dev/null; cat /got; touch /done; sleep 4984",
      ],
      health: { command: { shell: "test -e /done" }, everyMs: 50 },
    });
    await containers().sh("true", { container: { services: [web, asks] } });
    expect(containers().notes).toContain("asks: it works");
    expect(containers().logged).toEqual([]);
  });
});
