import { engineSuite } from "./engine.ts";

await engineSuite("podman", "podman");
