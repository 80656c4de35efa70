#!/usr/bin/env node
// What `npx coordinator` starts.
import { begin } from "./begin.ts";

begin();
await import("../../coordinator/cli.ts");
