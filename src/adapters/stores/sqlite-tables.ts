import type { Database, Statement } from "bun:sqlite";
import { assert } from "../../model/assert.ts";
import type { GroupId } from "../../model/ids.ts";
import { StoreError, type StoreTable, type StoreWrite } from "../../ports/store.ts";

const schemaVersion = 1;

interface RecordRow {
  readonly key: string;
  readonly value: Uint8Array;
}

interface LogRow {
  readonly index: number;
  readonly value: Uint8Array;
}

/** The tables in the file and the statements over them. */
export class SqliteTables {
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #rollback: Statement;
  readonly #get: Statement<{ value: Uint8Array }, [string, string]>;
  readonly #scan: Statement<RecordRow, [string]>;
  readonly #put: Statement<unknown, [string, string, Uint8Array]>;
  readonly #delete: Statement<unknown, [string, string]>;
  readonly #lastIndex: Statement<{ last: number | null }, [string]>;
  readonly #readLog: Statement<LogRow, [string]>;
  readonly #append: Statement<unknown, [string, number, Uint8Array]>;
  readonly #cut: Statement<unknown, [string, number]>;
  readonly #compact: Statement<unknown, [string, number]>;
  readonly #drop: Statement<unknown, [string]>;

  /** Locks the file for this process, and makes the tables when they are missing. */
  constructor(database: Database) {
    // Exclusive before WAL: then there is no shared-memory file, and the lock is held until close or death.
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = FULL");
    database.run("BEGIN EXCLUSIVE");
    migrate(database);
    database.run("COMMIT");
    this.#begin = database.prepare("BEGIN IMMEDIATE");
    this.#commit = database.prepare("COMMIT");
    this.#rollback = database.prepare("ROLLBACK");
    this.#get = database.prepare("SELECT value FROM records WHERE kind = ? AND key = ?");
    this.#scan = database.prepare("SELECT key, value FROM records WHERE kind = ? ORDER BY key");
    this.#put = database.prepare("INSERT OR REPLACE INTO records (kind, key, value) VALUES (?, ?, ?)");
    this.#delete = database.prepare("DELETE FROM records WHERE kind = ? AND key = ?");
    this.#lastIndex = database.prepare("SELECT max(position) AS last FROM log WHERE cohort = ?");
    this.#readLog = database.prepare(
      'SELECT position AS "index", value FROM log WHERE cohort = ? ORDER BY position',
    );
    this.#append = database.prepare("INSERT INTO log (cohort, position, value) VALUES (?, ?, ?)");
    this.#cut = database.prepare("DELETE FROM log WHERE cohort = ? AND position >= ?");
    this.#compact = database.prepare("DELETE FROM log WHERE cohort = ? AND position <= ?");
    this.#drop = database.prepare("DELETE FROM log WHERE cohort = ?");
  }

  begin(): void {
    this.#begin.run();
  }

  commit(): void {
    this.#commit.run();
  }

  rollback(): void {
    this.#rollback.run();
  }

  get(table: StoreTable, key: string): Uint8Array | undefined {
    return this.#get.get(table, key)?.value;
  }

  scan(table: StoreTable): readonly RecordRow[] {
    return this.#scan.all(table);
  }

  readLog(group: GroupId): readonly LogRow[] {
    return this.#readLog.all(group);
  }

  apply(write: StoreWrite): void {
    switch (write.kind) {
      case "put":
        this.#put.run(write.table, write.key, write.value);
        return;
      case "delete":
        this.#delete.run(write.table, write.key);
        return;
      case "append":
        this.#appendTo(write.group, write.firstIndex, write.entries);
        return;
      case "compact":
        this.#compact.run(write.group, write.throughIndex);
        return;
      case "drop-log":
        this.#drop.run(write.group);
    }
  }

  close(): void {
    for (const statement of [
      this.#begin,
      this.#commit,
      this.#rollback,
      this.#get,
      this.#scan,
      this.#put,
      this.#delete,
      this.#lastIndex,
      this.#readLog,
      this.#append,
      this.#cut,
      this.#compact,
      this.#drop,
    ])
      statement.finalize();
  }

  #appendTo(group: GroupId, firstIndex: number, entries: readonly Uint8Array[]): void {
    const last = this.#lastIndex.get(group)?.last ?? undefined;
    assert(last === undefined || firstIndex <= last + 1, "a log has no gaps");
    if (last !== undefined && firstIndex <= last) this.#cut.run(group, firstIndex);
    entries.forEach((entry, i) => this.#append.run(group, firstIndex + i, entry));
  }
}

function migrate(database: Database): void {
  const found = database.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
  if (found === schemaVersion) return;
  if (found !== 0)
    throw new StoreError(`the store has format ${found}, and this program reads ${schemaVersion}`, {
      code: "failed",
      detail: `format ${found}`,
    });
  database.run(
    "CREATE TABLE records (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID",
  );
  database.run(
    "CREATE TABLE log (cohort TEXT NOT NULL, position INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (cohort, position)) WITHOUT ROWID",
  );
  database.run(`PRAGMA user_version = ${schemaVersion}`);
}
