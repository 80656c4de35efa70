/** The words of a text, in lower case. */
export const words = (text) => text.toLowerCase().match(/\p{Letter}+/gu) ?? [];
