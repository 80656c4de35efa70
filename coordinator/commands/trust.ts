// `coordinator trust`
import { trustCommand } from "../../protocol/trust-command.ts";

export const { builder, handler } = trustCommand("coordinator");
