/**
 * The node's store in one SQLite file: write-ahead log, synced at every commit. Commits made in one
 * turn of the event loop share a transaction and so a sync, which is what makes many groups on one
 * node cheap. A sync takes a fraction of a millisecond on the main thread; handing each commit to a
 * worker and back costs more than that.
 */
import { Database, SQLiteError } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { StoreError, type Store, type StoreTable, type StoreWrite } from "../../ports/store.ts";
import { SqliteTables } from "./sqlite-tables.ts";

export const storeFileName = "muster.db";
/** Holds the pid of the process that has the store open; without meaning while nobody has. */
const pidFileName = "muster.pid";

interface Pending {
  readonly writes: readonly StoreWrite[];
  readonly done: PromiseWithResolvers<void>;
}

export class SqliteStore implements Store {
  readonly #path: string;
  readonly #database: Database;
  readonly #tables: SqliteTables;
  #pending: Pending[] = [];
  #isClosed = false;

  private constructor(path: string, database: Database, tables: SqliteTables) {
    this.#path = path;
    this.#database = database;
    this.#tables = tables;
  }

  /** Makes the directory and the file when they are missing. Throws StoreError `locked`, `corrupt` or `failed`. */
  static open(directory: string): SqliteStore {
    const path = join(directory, storeFileName);
    let database: Database | undefined;
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      // Specs hold secrets, and the directory may be one that others can enter. The log takes this mode over.
      closeSync(openSync(path, "a", 0o600));
      chmodSync(path, 0o600);
      database = new Database(path, { create: true, strict: true });
      const tables = new SqliteTables(database);
      writeFileSync(join(directory, pidFileName), `${process.pid}\n`);
      syncDirectory(directory);
      return new SqliteStore(path, database, tables);
    } catch (error) {
      database?.close();
      if (error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY"))
        throw lockedError(directory, path, error);
      throw storeErrorOf(error, path, "open the store");
    }
  }

  commit(writes: readonly StoreWrite[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    const done = Promise.withResolvers<void>();
    this.#pending.push({ writes, done });
    if (this.#pending.length === 1) setImmediate(() => this.#flush());
    return done.promise;
  }

  async get(table: StoreTable, key: string): Promise<Uint8Array | undefined> {
    return this.#read(() => this.#tables.get(table, key));
  }

  async scan(table: StoreTable): Promise<readonly { readonly key: string; readonly value: Uint8Array }[]> {
    return this.#read(() => this.#tables.scan(table));
  }

  async readLog(group: string): Promise<readonly { readonly index: number; readonly value: Uint8Array }[]> {
    return this.#read(() => this.#tables.readLog(group));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#flush();
    this.#isClosed = true;
    this.#tables.close();
    this.#database.close();
  }

  #read<T>(query: () => T): T {
    if (this.#isClosed) throw closedError();
    try {
      return query();
    } catch (error) {
      throw storeErrorOf(error, this.#path, "read the store");
    }
  }

  /** All pending commits in one transaction; when it fails, all of them fail: a later one may build on an earlier. */
  #flush(): void {
    const pending = this.#pending;
    if (pending.length === 0) return;
    this.#pending = [];
    try {
      this.#tables.begin();
      for (const { writes } of pending) for (const write of writes) this.#tables.apply(write);
      this.#tables.commit();
    } catch (error) {
      // SQLite has rolled back already after some errors.
      if (this.#database.inTransaction) this.#tables.rollback();
      const reason = storeErrorOf(error, this.#path, "write to the store");
      for (const { done } of pending) done.reject(reason);
      return;
    }
    for (const { done } of pending) done.resolve();
  }
}

/** The name of a new file is durable only once its directory is. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function lockedError(directory: string, path: string, cause: unknown): StoreError {
  const pidPath = join(directory, pidFileName);
  const holderPid = holderOf(pidPath);
  if (holderPid === undefined)
    return new StoreError(`${path} is in use by another process`, { code: "locked", path }, { cause });
  return new StoreError(
    `${path} is in use by process ${holderPid}, since ${sinceOf(pidPath)}`,
    { code: "locked", path, holderPid },
    { cause },
  );
}

function holderOf(pidPath: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidPath, "utf8"));
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    // The holder has the lock and has not written its pid yet.
    return undefined;
  }
}

/** When the holder took the lock: it writes its pid then and never again. */
function sinceOf(pidPath: string): string {
  return `${statSync(pidPath).mtime.toISOString().slice(0, 19)}Z`;
}

function closedError(): StoreError {
  return new StoreError("the store is closed", { code: "closed" });
}

function storeErrorOf(error: unknown, path: string, attempt: string): unknown {
  if (!(error instanceof Error)) return error;
  const code = error instanceof SQLiteError || "code" in error ? String(error.code) : "";
  const message = `cannot ${attempt} at ${path}: ${error.message}`;
  const options = { cause: error };
  if (code === "SQLITE_FULL" || code === "ENOSPC")
    return new StoreError(message, { code: "full", path }, options);
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB")
    return new StoreError(message, { code: "corrupt", path, detail: error.message }, options);
  if (code.startsWith("SQLITE_") || code.startsWith("E"))
    return new StoreError(message, { code: "failed", detail: error.message }, options);
  // Anything else is a broken invariant of ours.
  return error;
}
