// What a coordinator calls itself when it pairs: how a runner's trust list shows it.
import { hostname, userInfo } from "node:os";

export function ownName(): string {
  let user = "coordinator";
  try {
    user = userInfo().username;
  } catch {
    // A user id without a name, as in many containers.
  }
  return (
    `${user}-${hostname()}`
      .replace(/[^A-Za-z0-9_.-]/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 63) || "coordinator"
  );
}
