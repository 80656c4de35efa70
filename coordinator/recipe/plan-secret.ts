// A secret as a plan has it: everything but its value. variables.ts and job-secrets.ts make them of a job's options, and
// secrets.ts reads their values.
import type { DeliveredSecret } from "../../protocol/delivered-secret.ts";
import type { Secret, SecretSource } from "./secret.ts";

export interface PlanSecret {
  /** The variable that has it; of a file, what its variable is called after. */
  readonly name: string;
  /** What the secret is called. */
  readonly from: string;
  readonly source: SecretSource;
  readonly as: DeliveredSecret["as"];
  /** Whose variable it is, where it is not the job's. */
  readonly service?: string;
}

/** `name`: the variable that has it, or that its file's path is called after. */
export const planSecret = (one: Secret, name: string, as: PlanSecret["as"]): PlanSecret => ({
  name,
  from: one.name ?? name,
  source: one.source,
  as,
});
