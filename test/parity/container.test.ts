import { describe, it } from "vitest";
import { IMAGE, testEngine } from "../rig/engine.ts";
import { containerOf } from "./container.ts";
import { paritySuite } from "./suite.ts";

for (const kind of ["docker", "podman"] as const) {
  const engine = await testEngine(kind);
  if ("missing" in engine) describe.skip(`a job, ${kind}: ${engine.missing}`, () => it("is left out", () => {}));
  else
    paritySuite(
      "container",
      async () => {
        process.env["DOCKER_HOST"] = engine.host;
        return { container: containerOf(IMAGE) };
      },
      kind,
    );
}
