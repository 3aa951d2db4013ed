/**
 * The table of published ports through its life: written when the first endpoint comes, gone with the
 * last one, and written again when somebody flushes all tables of the machine.
 *
 * A file says that it may be there, from before it is written until after it is gone: an agent that
 * starts without endpoints then knows whether a crash left it, and runs no program when not.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../../ports/clock.ts";
import type { Logger } from "../../../ports/logger.ts";
import type { EndpointRecord } from "./endpoint-records.ts";
import { NftQueue } from "./nft-queue.ts";
import { addElements, deleteElements, dropTable, wholeTable, type NftTableOptions } from "./nft-table.ts";
import type { PacketFilter } from "./packet-filter.ts";
import { loopbackResolver } from "./uplink.ts";

export interface NodeTablePorts {
  readonly clock: Clock;
  readonly log: Logger;
  /** What the table has to say, as of the call. */
  readonly records: () => readonly EndpointRecord[];
  readonly packetFilter: () => PacketFilter;
  /** The machine's, as hexadecimal bytes. */
  readonly ownAddresses: () => ReadonlySet<string>;
}

export interface NodeTableOptions extends Omit<NftTableOptions, "loopbackResolver"> {
  readonly statePath: string;
  /** Says which resolvers the machine asks. */
  readonly resolverPath: string;
}

const checkPeriodMs = 5_000;

export class NodeTable {
  readonly #ports: NodeTablePorts;
  readonly #options: NodeTableOptions;
  readonly #nft = new NftQueue();
  readonly #marker: string;
  #written: Promise<void> | undefined;
  #cancelCheck: (() => void) | undefined;
  #isClosed = false;

  constructor(ports: NodeTablePorts, options: NodeTableOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#marker = join(options.statePath, "table");
  }

  /** Makes the table right for all records: it is there when there are some, and not when there is none. */
  async settle(): Promise<void> {
    if (this.#ports.records().length > 0) return this.#ensure();
    if (this.#written === undefined && !existsSync(this.#marker)) return;
    this.#written = undefined;
    await this.#nft.apply(dropTable(this.#options.table));
    // Another endpoint may have come meanwhile; then the file is its.
    if (this.#written === undefined) rmSync(this.#marker, { force: true });
  }

  /** The record is among the records already. */
  async publish(record: EndpointRecord): Promise<void> {
    const isNew = this.#written === undefined;
    await this.#ensure();
    if (!isNew) await this.#change(addElements(this.#options.table, record));
    this.#forget(record, (filter) => {
      const ports = record.ports.filter(({ protocol }) => protocol === "udp");
      const addresses = ports.length === 0 ? new Set<string>() : this.#ports.ownAddresses();
      for (const { published } of ports)
        if (published !== undefined) filter.forgetDatagrams(published, addresses);
    });
  }

  async withdraw(record: EndpointRecord): Promise<void> {
    if (this.#written === undefined && !existsSync(this.#marker)) return;
    await this.#ensure();
    await this.#change(deleteElements(this.#options.table, record));
    this.#forget(record, (filter) => {
      if (record.ports.some(({ published }) => published !== undefined))
        filter.forgetReplica(record.ipv4, record.ipv6);
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelCheck?.();
    await this.#nft.idle();
  }

  #ensure(): Promise<void> {
    this.#written ??= this.#write().catch((error: unknown) => {
      this.#written = undefined;
      // Where nft is missing nothing was written, and nothing waits to be taken back.
      if (!this.#ports.packetFilter().hasTable(this.#options.table)) rmSync(this.#marker, { force: true });
      throw error;
    });
    return this.#written;
  }

  async #write(): Promise<void> {
    mkdirSync(this.#options.statePath, { recursive: true, mode: 0o700 });
    writeFileSync(this.#marker, `${this.#options.table}\n`);
    await this.#nft.apply(this.#whole());
    this.#checkLater();
  }

  #whole(): string {
    const resolver = loopbackResolver(this.#options.resolverPath);
    return wholeTable({ ...this.#options, loopbackResolver: resolver }, this.#ports.records());
  }

  /** A change that is refused finds the table gone, or not as it was left: then all of it is written. */
  async #change(script: string): Promise<void> {
    try {
      await this.#nft.apply(script);
    } catch {
      await this.#nft.apply(this.#whole());
      // An element that is being withdrawn may have been among them.
      await this.#nft.apply(script);
    }
  }

  /** A connection too many that is remembered is no reason to fail. */
  #forget({ id }: EndpointRecord, forget: (filter: PacketFilter) => void): void {
    try {
      forget(this.#ports.packetFilter());
    } catch (error) {
      this.#ports.log.warn("connections were not forgotten", { endpoint: id, detail: String(error) });
    }
  }

  #checkLater(): void {
    if (this.#isClosed) return;
    const { clock } = this.#ports;
    this.#cancelCheck?.();
    this.#cancelCheck = clock.at(clock.now() + checkPeriodMs, () => void this.#check());
  }

  async #check(): Promise<void> {
    const { log, records, packetFilter } = this.#ports;
    const { table } = this.#options;
    try {
      if (this.#written === undefined) return;
      await this.#written;
      if (!packetFilter().hasTable(table) && records().length > 0) {
        log.warn("the table of published ports was removed by somebody; written again", { table });
        await this.#nft.apply(this.#whole());
      }
    } catch (error) {
      log.error("the table of published ports cannot be checked", { table, detail: String(error) });
    }
    if (this.#written !== undefined) this.#checkLater();
  }
}
