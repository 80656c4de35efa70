// `runner id`
import { idCommand } from "../../protocol/id-command.ts";

export const { builder, handler } = idCommand("runner");
