import { words } from "@example/words";

/** Greets whoever the text names. */
export const greet = (text) => `Hello, ${words(text).join(" and ")}!`;
