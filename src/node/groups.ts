/** The cohorts that this node is a member of: made, loaded, found, dropped. */
import * as v from "valibot";
import { assert } from "../model/assert.ts";
import type { Charter } from "../model/charter.ts";
import { joiningState } from "../core/consensus/bootstrap.ts";
import type { StoredState } from "../core/consensus/entry-log.ts";
import type { Snapshot } from "../core/consensus/entry.ts";
import type { DeploymentId, GroupId, NodeId } from "../model/ids.ts";
import type { Entropy } from "../ports/entropy.ts";
import type { Store, StoreWrite } from "../ports/store.ts";
import { decodeAs, encode } from "../wire/codec.ts";
import { entrySchema, hardStateSchema, snapshotSchema } from "../wire/consensus.ts";
import { charterSchema } from "../wire/nouns.ts";
import { Group, type Fleet, type GroupPorts, type LogOptions } from "./group.ts";

export interface GroupsPorts extends GroupPorts {
  readonly store: Store;
  readonly entropy: Entropy;
  readonly fleet: () => Fleet;
}

/** A learner has no snapshot yet; its charter says what it waits for. */
const storedSnapshotSchema = v.object({ charter: charterSchema, snapshot: v.optional(snapshotSchema) });

export class Groups {
  readonly #ports: GroupsPorts;
  readonly #options: { readonly self: NodeId; readonly log: LogOptions };
  readonly #groups = new Map<GroupId, Group>();
  /** Groups whose first writes are under way. */
  readonly #joining = new Map<GroupId, Promise<Group>>();
  /** Those of them that were taken back meanwhile. */
  readonly #abandoned = new Set<GroupId>();

  constructor(ports: GroupsPorts, options: { readonly self: NodeId; readonly log: LogOptions }) {
    this.#ports = ports;
    this.#options = options;
  }

  /** Takes up every group that is on disk. */
  async load(): Promise<void> {
    for (const { key, value } of await this.#ports.store.scan("snapshots")) {
      const { charter, snapshot } = decodeAs(storedSnapshotSchema, value);
      const hardState = await this.#ports.store.get("hard-states", key);
      const entries = (await this.#ports.store.readLog(key)).map((record) =>
        decodeAs(entrySchema, record.value),
      );
      const joining = joiningState();
      this.#open(charter, {
        hardState:
          hardState === undefined
            ? joining.hardState
            : { vote: undefined, ...decodeAs(hardStateSchema, hardState) },
        snapshot,
        entries: entries.filter(({ index }) => snapshot === undefined || index > snapshot.index),
        applied: snapshot?.index ?? 0,
      });
    }
  }

  get(group: GroupId): Group | undefined {
    return this.#groups.get(group);
  }

  all(): readonly Group[] {
    return [...this.#groups.values()];
  }

  /** The newest lineage of a deployment's cohort here. */
  of(deployment: DeploymentId): Group | undefined {
    let newest: Group | undefined;
    for (const group of this.#groups.values()) {
      if (group.charter.deployment !== deployment) continue;
      if (newest === undefined || group.charter.epoch > newest.charter.epoch) newest = group;
    }
    return newest;
  }

  /** A founding voter: durable when this resolves. Repeating it changes nothing. */
  async found(charter: Charter, snapshot: Snapshot): Promise<Group> {
    const hardState = { term: snapshot.term, vote: undefined, commit: snapshot.index };
    const writes: StoreWrite[] = [
      { kind: "put", table: "snapshots", key: charter.group, value: encode({ charter, snapshot }) },
      { kind: "put", table: "hard-states", key: charter.group, value: encode(hardState) },
    ];
    return this.#join(charter, writes, { hardState, snapshot, entries: [], applied: snapshot.index });
  }

  /** A learner: empty until the steward sends it the log. */
  async enlist(charter: Charter): Promise<Group> {
    const value = encode({ charter });
    const writes: StoreWrite[] = [{ kind: "put", table: "snapshots", key: charter.group, value }];
    return this.#join(charter, writes, joiningState());
  }

  /**
   * Forgets the group, on disk too. Only for one that is dead for good or that counts this node out: a voter
   * that forgets its vote can give it twice, and what it has acknowledged counts as kept.
   */
  async drop(id: GroupId): Promise<void> {
    const group = this.#groups.get(id);
    if (group === undefined) return;
    group.close();
    this.#groups.delete(id);
    this.#ports.logger.debug("group dropped", { group: id });
    await this.#forget(id);
  }

  /** Takes a founding back that came to nothing, one too whose first writes have yet to become durable. */
  async abandon(id: GroupId): Promise<void> {
    if (this.#joining.has(id)) this.#abandoned.add(id);
    else if (this.#groups.get(id)?.isUntouched === true) await this.drop(id);
  }

  close(): void {
    for (const group of this.#groups.values()) group.close();
  }

  /** Whoever asks for a group that is being made gets the same one: what is on disk is what runs. */
  async #join(charter: Charter, writes: readonly StoreWrite[], stored: StoredState): Promise<Group> {
    const existing = this.#groups.get(charter.group) ?? this.#joining.get(charter.group);
    if (existing !== undefined) return existing;
    const joining = this.#write(writes).then(async () => {
      if (!this.#abandoned.delete(charter.group)) return this.#open(charter, stored);
      await this.#forget(charter.group);
      throw new Error(`the founding of ${charter.group} was taken back`);
    });
    this.#joining.set(charter.group, joining);
    try {
      return await joining;
    } finally {
      this.#joining.delete(charter.group);
    }
  }

  async #forget(id: GroupId): Promise<void> {
    await this.#write([
      { kind: "delete", table: "snapshots", key: id },
      { kind: "delete", table: "hard-states", key: id },
      { kind: "drop-log", group: id },
    ]);
  }

  /** In the order of the turn, so that nothing a dropped group still had to write comes after its deletion. */
  async #write(writes: readonly StoreWrite[]): Promise<void> {
    const { turn } = this.#ports;
    await new Promise<void>((done) => {
      turn.enqueue(() => turn.carryOut(this, [{ kind: "write", writes, done }]));
    });
  }

  #open(charter: Charter, stored: StoredState): Group {
    assert(!this.#groups.has(charter.group), "a group is opened once");
    const seed = new DataView(this.#ports.entropy.bytes(4).slice().buffer).getUint32(0);
    const group = new Group(
      this.#ports,
      { ...this.#options, seed, charter, fleet: this.#ports.fleet() },
      stored,
    );
    this.#groups.set(charter.group, group);
    group.start();
    return group;
  }
}
