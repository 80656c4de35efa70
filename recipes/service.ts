/** Service: a job in a container, beside a Redis that it can use once it starts; needs a container engine. */
import { job, recipe } from "sortie";

const image = "redis:7-alpine";

const count = job({
  container: { image, services: { cache: { image, health: ["redis-cli", "ping"] } } },
  run: ["redis-cli", "-h", "cache", "incr", "visits"],
  timeout: "5m",
});

export default recipe({ count });
