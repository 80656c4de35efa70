import { engineSuite } from "./engine.ts";

await engineSuite("docker");
