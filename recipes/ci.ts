/** CI: this repository's own lint, types and tests, each as a job. Runs where the repository lies. */
import { join } from "node:path";
import { job, recipe } from "sortie";

const cwd = join(import.meta.dirname, "..");

const lint = job({ cwd, timeout: "5m", run: ["npm", "run", "lint"] });
const types = job({ cwd, timeout: "5m", run: ["npm", "run", "types"] });
const test = job({ cwd, timeout: "30m", needs: [lint, types], run: ["npm", "test"] });

export default recipe({ lint, types, test });
