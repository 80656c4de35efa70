import { localBackend } from "../../runner/keeper/backends/local.ts";
import { backendContract } from "./backend.ts";

backendContract("local", (folder) => localBackend(folder, "the-contract"));
