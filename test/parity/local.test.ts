import { paritySuite } from "./suite.ts";

paritySuite("local", async () => ({}));
