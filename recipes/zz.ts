import { job, recipe, sh } from "sortie";
const a = job({ run: sh`echo a` });
const b = job({ needs: [a], run: sh`i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); sleep 0.1; done` });
const c = job({ needs: [b], run: sh`echo c` });
export default recipe({ a, b, c });
