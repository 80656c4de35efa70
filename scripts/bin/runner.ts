#!/usr/bin/env node
// What `npx runner` starts.
import { begin } from "./begin.ts";

begin();
await import("../../runner/cli.ts");
