// The coordinator's record of runs, jobs and attempts, in SQLite. Rows are written in batches: a kill -9 loses at most
// the last moment's, and never leaves half of one.
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { SortieError } from "../../protocol/errors.ts";
import { privateFolder } from "../../protocol/home.ts";

/** Rows wait this long for company. */
const FLUSH_MS = 50;
/** The longest a writer waits for the others, and the pause between looks where SQLite itself does not wait. */
const BUSY_MS = 5_000;
const LOOK_AGAIN_MS = 5;
/** Result codes of SQLite, https://www.sqlite.org/rescode.html */
const BUSY = 5;
const CORRUPT = 11;
const NOT_A_DATABASE = 26;

/** What makes each version of the schema from the one before it. Never changed once released: add another. */
const migrations = [
  `
  CREATE TABLE runs (
    id TEXT PRIMARY KEY, recipe TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER, outcome TEXT, message TEXT,
    pid INTEGER NOT NULL, pid_started TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX runs_by_time ON runs (started_at);
  CREATE TABLE jobs (
    run TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL, needs TEXT NOT NULL, outcome TEXT, message TEXT,
    PRIMARY KEY (run, name)
  ) WITHOUT ROWID;
  CREATE TABLE attempts (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, job TEXT NOT NULL, attempt INTEGER NOT NULL, runner TEXT NOT NULL,
    started_at INTEGER NOT NULL, ended_at INTEGER, exit TEXT, message TEXT
  ) WITHOUT ROWID;
  CREATE INDEX attempts_by_job ON attempts (run, job, attempt);
`,
  `
  ALTER TABLE runs ADD COLUMN fingerprint TEXT;
  ALTER TABLE attempts ADD COLUMN runner_id TEXT;
  ALTER TABLE attempts ADD COLUMN gap TEXT;
  CREATE TABLE cancellations (run TEXT NOT NULL, job TEXT);
  CREATE INDEX cancellations_by_run ON cancellations (run);
`,
  `
  ALTER TABLE runs ADD COLUMN params TEXT;
  ALTER TABLE jobs ADD COLUMN allowed INTEGER;
`,
  `
  ALTER TABLE runs ADD COLUMN selection TEXT;
  ALTER TABLE runs ADD COLUMN asked_on TEXT;
  ALTER TABLE runs ADD COLUMN after TEXT;
  ALTER TABLE jobs ADD COLUMN fingerprint TEXT;
  ALTER TABLE jobs ADD COLUMN kept TEXT;
  ALTER TABLE jobs ADD COLUMN output TEXT;
  ALTER TABLE jobs ADD COLUMN given_by TEXT;
  ALTER TABLE attempts ADD COLUMN driven INTEGER;
  CREATE TABLE places (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, job TEXT NOT NULL, runner TEXT NOT NULL, runner_id TEXT NOT NULL,
    started_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX places_by_run ON places (run);
`,
  `
  CREATE TABLE claims (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, run TEXT NOT NULL, job TEXT NOT NULL,
    pid INTEGER NOT NULL, pid_started TEXT NOT NULL, has INTEGER NOT NULL, cancelled_by TEXT, UNIQUE (run, job)
  );
  CREATE INDEX claims_by_name ON claims (name, has, id);
`,
  `
  ALTER TABLE attempts ADD COLUMN outcome TEXT;
`,
  `
  ALTER TABLE runs ADD COLUMN sandbox TEXT;
`,
];

/** A prepared statement's text, and its values. */
export type Write = readonly [sql: string, ...values: SQLInputValue[]];

export interface Database {
  all<Row>(sql: string, ...values: SQLInputValue[]): Row[];
  /** Queued, and written within FLUSH_MS. What fails is thrown by the next call, or by flush. */
  write(...writes: Write[]): void;
  /** Resolves once what is queued is written, together with what else comes in this turn. Rejects with STORE_FAILED. */
  written(): Promise<void>;
  /** Writes what is queued. Throws STORE_FAILED. */
  flush(): void;
  close(): void;
}

/**
 * Opens `sortie.db` in the coordinator's folder; makes it where there is none. Throws STORE_FAILED, and STATE_INVALID
 * where the file is damaged or made by a later Sortie.
 */
export function openDatabase(folder: string): Database {
  const path = join(privateFolder(folder), "sortie.db");
  const failed = (error: unknown): SortieError => {
    const { message, errcode } = error as Error & { errcode?: number };
    return new SortieError(
      error instanceof RangeError || errcode === CORRUPT || errcode === NOT_A_DATABASE
        ? "STATE_INVALID"
        : "STORE_FAILED",
      `The record ${path} cannot be used: ${message}.`,
      { cause: error },
    );
  };
  let database: DatabaseSync;
  try {
    // Made here, so that it is never readable by others; SQLite gives its own files beside it the same mode.
    closeSync(openSync(path, "a", 0o600));
    database = new DatabaseSync(path, { timeout: BUSY_MS });
  } catch (error) {
    throw failed(error);
  }
  try {
    patiently(() => {
      // WAL lets `coordinator logs` read while a run writes; NORMAL loses the last moment in a power cut, never more.
      database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;");
      migrate(database);
    });
  } catch (error) {
    database.close();
    throw failed(error);
  }

  const statements = new Map<string, StatementSync>();
  const prepare = (sql: string): StatementSync => {
    const known = statements.get(sql) ?? database.prepare(sql);
    statements.set(sql, known);
    return known;
  };
  let queue: Write[] = [];
  let timer: NodeJS.Timeout | undefined;
  let failure: SortieError | undefined;
  let turn: Promise<void> | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    if (failure) throw failure;
    if (queue.length === 0) return;
    const writes = queue;
    queue = [];
    try {
      database.exec("BEGIN IMMEDIATE");
      for (const [sql, ...values] of writes) prepare(sql).run(...values);
      database.exec("COMMIT");
    } catch (error) {
      failure = failed(error);
      // A full disk has rolled it back already.
      if (database.isTransaction) database.exec("ROLLBACK");
      throw failure;
    }
  }

  return {
    all: <Row>(sql: string, ...values: SQLInputValue[]) => {
      flush();
      return prepare(sql).all(...values) as Row[];
    },
    write(...writes) {
      if (failure) throw failure;
      queue.push(...writes);
      timer ??= setTimeout(() => {
        try {
          flush();
        } catch {
          // Kept, and thrown by the next write.
        }
      }, FLUSH_MS);
    },
    written() {
      turn ??= new Promise<void>((resolve, reject) => {
        setImmediate(() => {
          turn = undefined;
          try {
            flush();
            resolve();
          } catch (error) {
            reject(error);
          }
        });
      });
      return turn;
    },
    flush,
    close() {
      try {
        flush();
      } finally {
        database.close();
      }
    },
  };
}

/** SQLite's own waiting leaves out the change to WAL, where processes that make the record at the same time meet. */
function patiently(open: () => void): void {
  const givesUp = Date.now() + BUSY_MS;
  for (;;) {
    try {
      return open();
    } catch (error) {
      if ((error as { errcode?: number }).errcode !== BUSY || Date.now() > givesUp) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_AGAIN_MS);
    }
  }
}

function migrate(database: DatabaseSync): void {
  const version = (): number =>
    (database.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
  if (version() === migrations.length) return;
  database.exec("BEGIN IMMEDIATE");
  try {
    // Looked at again: another process may have been faster while this one waited for its turn.
    for (const step of migrations.slice(version())) database.exec(step);
    if (version() > migrations.length)
      throw new RangeError(`it is of version ${version()}, and this Sortie knows version ${migrations.length}`);
    database.exec(`PRAGMA user_version = ${migrations.length}; COMMIT`);
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}
