/** Places: one job as a process, and in a container and over ssh where IMAGE and HOST name them. */
import { job, recipe, sh } from "sortie";

const { IMAGE, HOST } = process.env;
const look = { timeout: "5m", run: sh`echo "I am $(id -un) on $(uname -n), in $PWD."` };

export default recipe({
  process: job(look),
  ...(IMAGE ? { container: job({ ...look, container: IMAGE }) } : {}),
  ...(HOST ? { ssh: job({ ...look, ssh: HOST }) } : {}),
});
