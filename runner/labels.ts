// Labels that every runner has: what it runs on.
import { arch, platform } from "node:os";
import type { Labels } from "../protocol/messages.ts";

/** `os` and `arch`, as Node names them (linux, darwin; x64, arm64). */
export const platformLabels = (): Labels => ({ os: platform(), arch: arch() });
