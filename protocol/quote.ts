// A word for a POSIX shell.

/**
 * Within single quotes nothing is special but the quote itself. Quoted even where it looks plain: a bare `A=1` could be
 * an assignment, `if` a keyword, and the 2 of `echo 2>file` a file descriptor.
 */
export const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** A word as a person would write it for a shell, to be shown: quoted where it must be. */
export const quote = (word: string): string => (/^[A-Za-z0-9_/.:=@%+,-]+$/.test(word) ? word : quoted(word));
