// What the containers of a job are held to beyond what it asks for: said by a runner's policy to its keeper, never by a
// peer. runner/grants/confine.ts makes it; the container backend applies it. Without one, engines' own defaults hold.
import * as v from "valibot";
import { limits } from "./limits.ts";
import { Capability, ResourceLimits } from "./place.ts";

export const Confinement = v.strictObject({
  /** Those of the engine's usual capabilities that are kept; absent: all. What a job asks for itself was granted, and is added. */
  capabilities: v.optional(v.pipe(v.array(Capability), v.maxLength(limits.listedPerContainer))),
  /** None where the job asks for none; its services reach each other and it, and nothing else. */
  network: v.optional(v.literal("none")),
  /** Where the image, or the job, would be root: nobody; and what they name must not be root by another name. */
  user: v.optional(v.literal("not-root")),
  /** What each container gets where less was not asked for. What is asked for beyond was granted. */
  limits: v.optional(ResourceLimits),
  /** Each mount's source is a path of this machine without links, looked at again before each container. */
  mounts: v.optional(v.literal("real")),
});
export type Confinement = v.InferOutput<typeof Confinement>;
