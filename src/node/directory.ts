/** Drives the directory machine: charters and namespace indexes at their guardians. */
import { DirectoryMachine } from "../core/directory/machine.ts";
import { directoryDefaults, type DirectoryEffect, type DirectoryInput } from "../core/directory/protocol.ts";
import { refText, type DirectoryRecord, type IndexEntry } from "../core/directory/record.ts";
import { createRng } from "../core/rng.ts";
import { lineageOf, type Charter } from "../model/charter.ts";
import type { DeploymentId, NodeId } from "../model/ids.ts";
import { ProblemError } from "../model/problem.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Store } from "../ports/store.ts";
import { decodeAs, encode } from "../wire/codec.ts";
import { namespaceKeyOf } from "../wire/digest.ts";
import { directoryMessageSchema, recordSchema } from "../wire/directory.ts";
import { MachineLane } from "./machine-lane.ts";
import type { Peers } from "./peers.ts";
import { readableRecords } from "./stored-records.ts";
import type { Turn, Work } from "./turn.ts";
import { within } from "./within.ts";

export const directoryChannel = "directory";

export interface DirectoryPorts {
  readonly turn: Turn;
  readonly clock: Clock;
  readonly store: Store;
  readonly logger: Logger;
  readonly peers: Peers;
  /** A charter held here lost against another lineage's. */
  readonly deposed: (loser: Charter, winner: Charter) => void;
}

/** The machine answers sooner whatever its peers do; only a store that takes no commits keeps it from that. */
const answerTimeoutMs = 2_000;
const stuckTimeoutMs = 1_000;

/** The namespace of namespaces: its index names them all. */
const namespacesKey = namespaceKeyOf("");

export class Directory {
  readonly #ports: DirectoryPorts;
  readonly #machine: DirectoryMachine;
  readonly #lane: MachineLane<DirectoryInput, DirectoryEffect>;
  readonly #gets = new Map<number, (record: DirectoryRecord | undefined) => void>();
  readonly #puts = new Map<number, (record: DirectoryRecord | undefined) => void>();
  #nextRequest = 1;

  constructor(ports: DirectoryPorts, options: { readonly self: NodeId; readonly seed: number }) {
    this.#ports = ports;
    this.#machine = new DirectoryMachine(
      { id: options.self, rng: createRng(options.seed) },
      directoryDefaults,
    );
    this.#lane = new MachineLane(ports, {
      machine: this.#machine,
      timeout: { kind: "timeout" },
      work: (effect) => this.#work(effect),
    });
  }

  async start(): Promise<void> {
    this.#lane.feed({
      kind: "start",
      records: await readableRecords(this.#ports, "directory", recordSchema),
    });
  }

  close(): void {
    this.#lane.close();
  }

  liveChanged(live: readonly NodeId[]): void {
    this.#lane.feed({ kind: "members-changed", live });
  }

  receive(from: NodeId, payload: Uint8Array): void {
    const message = decodeAs(directoryMessageSchema, payload);
    if (message.kind === "compare")
      this.#lane.feed({ kind: "message", from, message: { ...message, range: message.range } });
    else if (message.kind === "found")
      this.#lane.feed({ kind: "message", from, message: { ...message, copy: message.copy } });
    else this.#lane.feed({ kind: "message", from, message });
  }

  /** The charter as held here, without asking anyone: guardians have it. */
  held(deployment: DeploymentId): Charter | undefined {
    const record = this.#machine.held({ kind: "charter", key: deployment });
    return record?.kind === "charter" ? record.charter : undefined;
  }

  async charterOf(deployment: DeploymentId): Promise<Charter | undefined> {
    const record = await this.#get("charter", deployment);
    return record?.kind === "charter" ? record.charter : undefined;
  }

  /** Resolves with what the guardians have afterwards: another charter when that one is newer. */
  async publish(charter: Charter): Promise<Charter> {
    const { namespace, name, deployment: id, epoch, version } = charter;
    const lineage = lineageOf(charter);
    const entry: IndexEntry = { name, id, epoch, version, lineage, isPresent: !charter.deleted };
    const namespaces: IndexEntry = {
      name: namespace,
      id: namespaceKeyOf(namespace),
      epoch: 0,
      version: 0,
      lineage: "",
      isPresent: true,
    };
    const [record] = await Promise.all([
      this.#put({ kind: "charter", key: id, charter }),
      this.#put({ kind: "index", key: namespaceKeyOf(namespace), entries: [entry] }),
      this.#put({ kind: "index", key: namespacesKey, entries: [namespaces] }),
    ]);
    return record?.kind === "charter" ? record.charter : charter;
  }

  /** The ids of all deployments of a namespace, or of all namespaces. */
  async deploymentsOf(namespace: string | undefined): Promise<readonly DeploymentId[]> {
    const keys =
      namespace === undefined
        ? (await this.#entries(namespacesKey)).map(({ id }) => id)
        : [namespaceKeyOf(namespace)];
    const lists = await Promise.all(keys.map((key) => this.#entries(key)));
    return lists.flat().map(({ id }) => id);
  }

  async #entries(key: string): Promise<readonly IndexEntry[]> {
    const record = await this.#get("index", key);
    return record?.kind === "index" ? record.entries.filter(({ isPresent }) => isPresent) : [];
  }

  async #get(kind: "charter" | "index", key: string): Promise<DirectoryRecord | undefined> {
    return this.#asked(this.#gets, (requestId) =>
      this.#lane.feed({ kind: "get", requestId, ref: { kind, key } }),
    );
  }

  async #put(record: DirectoryRecord): Promise<DirectoryRecord | undefined> {
    return this.#asked(this.#puts, (requestId) => this.#lane.feed({ kind: "put", requestId, record }));
  }

  async #asked(
    waiting: Map<number, (record: DirectoryRecord | undefined) => void>,
    ask: (requestId: number) => void,
  ): Promise<DirectoryRecord | undefined> {
    const requestId = this.#nextRequest++;
    const answer = new Promise<DirectoryRecord | undefined>((resolve) => {
      waiting.set(requestId, resolve);
      ask(requestId);
    });
    const { clock, turn } = this.#ports;
    // A store that has refused a commit seldom takes the next: no need to wait long to see.
    const timeoutMs = turn.failure === undefined ? answerTimeoutMs : stuckTimeoutMs;
    return within(clock, timeoutMs, answer, () => {
      waiting.delete(requestId);
      return new ProblemError({
        code: "internal",
        message: `this node cannot answer: ${turn.failure ?? "its disk is too slow"}`,
        next: "see to its data directory, or ask another node meanwhile",
      });
    });
  }

  #work(effect: DirectoryEffect): Work {
    switch (effect.kind) {
      case "persist":
        return {
          kind: "write",
          writes: [
            { kind: "put", table: "directory", key: refText(effect.record), value: encode(effect.record) },
          ],
        };
      case "unpersist":
        return { kind: "write", writes: [{ kind: "delete", table: "directory", key: refText(effect.ref) }] };
      default:
        return { kind: "do", run: () => this.#carryOut(effect) };
    }
  }

  #carryOut(effect: Exclude<DirectoryEffect, { kind: "persist" | "unpersist" }>): void {
    switch (effect.kind) {
      case "send":
        this.#ports.peers.post(effect.to, directoryChannel, effect.message);
        return;
      case "put-done":
        this.#answer(this.#puts, effect.requestId, effect.record);
        return;
      case "put-refused":
        this.#ports.logger.warn("directory record refused", { reason: effect.reason });
        this.#answer(this.#puts, effect.requestId, undefined);
        return;
      case "reply":
        this.#answer(this.#gets, effect.requestId, effect.record);
        return;
      case "event":
        if (effect.event.kind === "charter-deposed")
          this.#ports.deposed(effect.event.loser, effect.event.winner);
        return;
    }
  }

  #answer(
    waiting: Map<number, (record: DirectoryRecord | undefined) => void>,
    requestId: number,
    record: DirectoryRecord | undefined,
  ): void {
    // One that was given up in the meantime is answered all the same.
    waiting.get(requestId)?.(record);
    waiting.delete(requestId);
  }
}
