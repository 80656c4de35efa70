// Where a keeper listens.
import { socketPathIn } from "../../protocol/local-socket.ts";

export const socketPath = (folder: string): string => socketPathIn(folder, "keeper.sock");
