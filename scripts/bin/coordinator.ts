#!/usr/bin/env node
// What `npx coordinator` starts. The compile cache must be on before anything large is loaded.
import { enableCompileCache } from "node:module";

enableCompileCache();
await import("../../coordinator/cli.ts");
