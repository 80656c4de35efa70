import { describe, expect, it } from "vitest";
import { type JobName, newAttemptId, newRunId } from "../../../protocol/ids.ts";
import { JobRequest } from "../../../protocol/messages.ts";
import { Container, plainContainer, Service, SshTarget } from "../../../protocol/place.ts";
import type { Kind } from "../../../runner/grants/policy.ts";
import { containerFields, jobFields, serviceFields, sshFields, wantsOf } from "../../../runner/grants/wants.ts";

const bare: JobRequest = {
  attemptId: newAttemptId(),
  run: newRunId(),
  job: "job" as JobName,
  attempt: 1,
  steps: [],
  driven: true,
  env: [],
  graceMs: 0,
  stdin: false,
};
const container: Container = { image: "alpine", ...plainContainer, network: "none" };
const service: Service = {
  name: "db",
  image: "db",
  pull: "missing",
  env: [],
  tmpfs: [],
  limits: {},
  healthyWithinMs: 1,
};
const kindsOf = (request: JobRequest): Kind[] => wantsOf(request).map(({ kind }) => kind);

describe("wants", () => {
  it("say of every field of a request what it needs, or why it needs nothing", () => {
    for (const [fields, schema] of [
      [jobFields, JobRequest],
      [containerFields, Container],
      [serviceFields, Service],
      [sshFields, SshTarget],
    ] as const)
      expect(Object.keys(fields).sort()).toEqual(Object.keys(schema.entries).sort());
  });

  // For each field that needs a kind, by the tables: a value of it that is more than nothing.
  const jobs: { readonly [Field in keyof JobRequest]?: Partial<JobRequest>[] } = {
    steps: [{ steps: [{ argv: ["git"] }] }, { steps: [{ shell: "true" }] }],
    env: [{ env: [["A", "b"]] }],
    secrets: [{ secrets: [{ as: "env", name: "TOKEN", value: "hunter2", variable: "NODE_AUTH" }] }],
    container: [{ container }],
    ssh: [{ ssh: { host: "web1" } }],
    cwd: [{ cwd: "/srv" }],
    user: [{ user: "nobody" }],
    limits: [{ container, limits: { pids: 100_000 } }],
  };
  const containers: { readonly [Field in keyof Container]?: Partial<Container>[] } = {
    image: [{}],
    mounts: [{ mounts: [{ source: "/srv", target: "/srv", readOnly: true }] }],
    network: [{ network: "bridge" }],
    gpus: [{ gpus: "all" }],
    capabilities: [{ capabilities: { add: ["NET_ADMIN"], drop: [] } }],
    newPrivileges: [{ newPrivileges: true }],
    privileged: [{ privileged: true }],
    services: [{ services: [{ ...service, user: "root" }] }],
  };

  it("are there for every field that the tables give a kind", () => {
    for (const [field, treatment] of Object.entries(jobFields)) {
      if (typeof treatment === "string") continue;
      const made = (jobs[field as keyof JobRequest] ?? []).flatMap((more) =>
        // Without those of the container that a field may need to mean something.
        kindsOf({ ...bare, ...more }).slice(
          more.container && field !== "container" ? kindsOf({ ...bare, container }).length : 0,
        ),
      );
      expect(made, field).not.toEqual([]);
      for (const kind of made) expect(treatment, field).toContain(kind);
    }
    for (const [field, treatment] of Object.entries(containerFields)) {
      if (typeof treatment === "string") continue;
      const without = field === "image" ? 0 : kindsOf({ ...bare, container }).length;
      const made = (containers[field as keyof Container] ?? []).flatMap((more) =>
        kindsOf({ ...bare, container: { ...container, ...more } }).slice(0),
      );
      expect(made.length, field).toBeGreaterThan(without);
    }
  });

  it("hold no shell command, no argument and no variable's value", () => {
    const wants = wantsOf({
      ...bare,
      steps: [{ argv: ["git", "hunter2"] }, { shell: "echo hunter2" }],
      env: [["TOKEN", "hunter2"]],
    });
    expect(wants.map(({ kind, value }) => [kind, value])).toEqual([
      ["run", "git"],
      ["shell", ""],
      ["env", "TOKEN"],
    ]);
    expect(JSON.stringify(wants)).not.toContain("hunter2");
  });

  it("of a command in a container or on a host are those of the container or the host", () => {
    const request: JobRequest = { ...bare, steps: [{ argv: ["sh"] }], env: [["LD_PRELOAD", "x"]], cwd: "/" };
    expect(kindsOf({ ...request, container })).toEqual(["image"]);
    expect(kindsOf({ ...request, ssh: { host: "web1", user: "deploy", port: 22 } })).toEqual(["ssh"]);
    expect(kindsOf(request)).toEqual(["run", "env", "cwd"]);
  });
});
