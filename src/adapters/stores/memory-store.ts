/** A store that forgets with the process: for the simulator and for tests. */
import { assert } from "../../model/assert.ts";
import { StoreError, type Store, type StoreTable, type StoreWrite } from "../../ports/store.ts";

/** The disk of a machine that exists only in memory; whoever plays the machine keeps it while agents come and go. */
export class MemoryDisk {
  readonly records = new Map<StoreTable, Map<string, Uint8Array>>();
  readonly logs = new Map<string, Map<number, Uint8Array>>();
  /** While set, every commit is refused with `full`. */
  isFull = false;
  /** The store that has it open. */
  holder: MemoryStore | undefined;
}

export interface MemoryStoreOptions {
  /** Calls `flush` once the commits of this turn are to be durable: how long a sync takes. */
  readonly schedule: (flush: () => void) => void;
}

interface Pending {
  readonly writes: readonly StoreWrite[];
  readonly done: PromiseWithResolvers<void>;
}

export class MemoryStore implements Store {
  readonly #disk: MemoryDisk;
  readonly #options: MemoryStoreOptions;
  #pending: Pending[] = [];
  #isClosed = false;

  constructor(
    ports: { readonly disk: MemoryDisk },
    options: MemoryStoreOptions = { schedule: queueMicrotask },
  ) {
    if (ports.disk.holder !== undefined)
      throw new StoreError("the disk is in use", {
        code: "locked",
        path: "memory",
      });
    this.#disk = ports.disk;
    this.#options = options;
    this.#disk.holder = this;
  }

  commit(writes: readonly StoreWrite[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    const done = Promise.withResolvers<void>();
    this.#pending.push({ writes, done });
    if (this.#pending.length === 1) this.#options.schedule(() => this.#flush());
    return done.promise;
  }

  async get(table: StoreTable, key: string): Promise<Uint8Array | undefined> {
    this.#refuseClosed();
    return this.#disk.records.get(table)?.get(key)?.slice();
  }

  async scan(table: StoreTable): Promise<readonly { readonly key: string; readonly value: Uint8Array }[]> {
    this.#refuseClosed();
    return [...(this.#disk.records.get(table) ?? [])]
      .map(([key, value]) => ({ key, value: value.slice() }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  async readLog(group: string): Promise<readonly { readonly index: number; readonly value: Uint8Array }[]> {
    this.#refuseClosed();
    return [...(this.#disk.logs.get(group) ?? [])]
      .map(([index, value]) => ({ index, value: value.slice() }))
      .sort((a, b) => a.index - b.index);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#flush();
    this.#leave();
  }

  /** The agent dies now: what is not durable yet is lost, and nobody hears of it. */
  crash(): void {
    this.#pending = [];
    if (!this.#isClosed) this.#leave();
  }

  #leave(): void {
    this.#isClosed = true;
    this.#disk.holder = undefined;
  }

  #refuseClosed(): void {
    if (this.#isClosed) throw closedError();
  }

  #flush(): void {
    const pending = this.#pending;
    this.#pending = [];
    for (const { writes, done } of pending) {
      if (this.#disk.isFull) {
        done.reject(
          new StoreError("no space left in memory", {
            code: "full",
            path: "memory",
          }),
        );
        continue;
      }
      for (const write of writes) apply(this.#disk, write);
      done.resolve();
    }
  }
}

function closedError(): StoreError {
  return new StoreError("the store is closed", { code: "closed" });
}

function apply(disk: MemoryDisk, write: StoreWrite): void {
  switch (write.kind) {
    case "put": {
      const records = disk.records.get(write.table) ?? new Map<string, Uint8Array>();
      disk.records.set(write.table, records.set(write.key, write.value.slice()));
      return;
    }
    case "delete":
      disk.records.get(write.table)?.delete(write.key);
      return;
    case "append": {
      const log = disk.logs.get(write.group) ?? new Map<number, Uint8Array>();
      for (const index of [...log.keys()]) if (index >= write.firstIndex) log.delete(index);
      assert(log.size === 0 || log.has(write.firstIndex - 1), "a log has no gaps");
      write.entries.forEach((entry, i) => log.set(write.firstIndex + i, entry.slice()));
      disk.logs.set(write.group, log);
      return;
    }
    case "compact": {
      const log = disk.logs.get(write.group);
      for (const index of [...(log?.keys() ?? [])]) if (index <= write.throughIndex) log?.delete(index);
      return;
    }
    case "drop-log":
      disk.logs.delete(write.group);
  }
}
