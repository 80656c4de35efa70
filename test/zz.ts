import { Containers } from "./runner/containers.ts";
process.env.DOCKER_HOST=process.argv[2]; const c = new Containers(process.argv[2] as string);
const t=performance.now(); const r = await c.run({container:{},steps:Array.from({length:128},(_, i)=>`echo ${i} >> /f; wc -l < /f`)});
console.log(r.length, JSON.stringify(r.at(-2)), JSON.stringify(r.at(-1)), performance.now()-t|0, await c.left(), c.logged); process.exit();
