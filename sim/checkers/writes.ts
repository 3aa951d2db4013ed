/** What users were told must be what the fleet remembers. */
import type { CohortState } from "../../src/core/cohort/state.ts";
import { compareCharters, type Charter } from "../../src/model/charter.ts";
import type { GroupId } from "../../src/model/ids.ts";
import type { World } from "../world/world.ts";

/** A request as its user saw it. */
interface Write {
  readonly requestId: string;
  readonly name: string;
  readonly what: string;
  readonly sentAt: number;
  answeredAt?: number;
  /** Of an acknowledged one: where in which log. */
  index?: number;
  epoch?: number;
  group?: GroupId;
}

/** The newest that was ever seen of a cohort, on any member. */
interface Seen {
  charter: Charter;
  state: CohortState;
  /** Index of each request that was answered with "done". */
  readonly requests: Map<string, number>;
}

/**
 * X1  An acknowledged write stays in the log of its cohort, at the index that was told.
 * X2  Writes to one cohort are in the log in the order their users saw: one that was sent after another was
 *     acknowledged comes after it.
 * X3  A cohort is followed by another epoch only after a deletion.
 * X4  Of several cohorts founded at once on sides that could not see each other one lives on; while all
 *     guardians answer there is never more than one.
 */
export class WriteLedger {
  readonly #world: World;
  readonly #writes = new Map<string, Write>();
  readonly #seen = new Map<GroupId, Seen>();
  readonly violations: string[] = [];
  /** Set once some guardian may have been cut off or late, so that a name could be founded twice. */
  canTie = false;

  constructor(world: World) {
    this.#world = world;
  }

  sent(requestId: string, name: string, what: string): void {
    this.#writes.set(requestId, { requestId, name, what, sentAt: this.#world.clock.now() });
  }

  acknowledged(requestId: string, answer: { readonly index: number; readonly epoch: number }): void {
    const write = this.#writes.get(requestId);
    if (write === undefined) return;
    write.answeredAt = this.#world.clock.now();
    write.index = answer.index;
    write.epoch = answer.epoch;
    this.observe();
  }

  /**
   * The cohort whose log has the write. A founding that lost to another one is repeated as a change of that one: the
   * index tells which counts.
   */
  #locate(write: Write): void {
    const { requestId, index, epoch } = write;
    const holders = [...this.#seen].filter(([, { requests }]) => requests.has(requestId));
    const told = holders.find(
      ([, { requests, state }]) => requests.get(requestId) === index && state.epoch === epoch,
    );
    const group = (told ?? holders[0])?.[0];
    if (group !== undefined) write.group = group;
  }

  /** Looks at what every member holds; cheap when nothing has changed. */
  observe(): void {
    for (const node of this.#world.live) {
      for (const { charter, state } of node.agent?.cohorts() ?? []) {
        if (state === undefined) continue;
        const seen = this.#seen.get(charter.group) ?? { charter, state, requests: new Map() };
        this.#seen.set(charter.group, seen);
        if (seen.state.index >= state.index && seen.requests.size > 0) continue;
        seen.state = state;
        seen.charter = charter;
        for (const [id, answer] of state.requests) {
          if (!answer.ok) continue;
          const known = seen.requests.get(id);
          if (known !== undefined && known !== answer.value.index)
            this.violations.push(
              `X1: ${id} moved from ${known} to ${answer.value.index} in ${charter.group}`,
            );
          seen.requests.set(id, answer.value.index);
        }
      }
    }
  }

  /** The cohort of a deployment that lives; undefined when there is none. */
  living(name: string): CohortState | undefined {
    const led: { readonly charter: Charter; readonly state: CohortState }[] = [];
    for (const node of this.#world.live)
      for (const { charter, state, isSteward } of node.agent?.cohorts() ?? [])
        if (isSteward && state?.spec.name === name && state.status === "active") led.push({ charter, state });
    led.sort((a, b) => compareCharters(b.charter, a.charter));
    return led[0]?.state;
  }

  /** Cohorts of a deployment that members still take for alive, deposed ones included. */
  lineages(name: string): ReadonlySet<GroupId> {
    const groups = new Set<GroupId>();
    for (const node of this.#world.live)
      for (const { id, state, steward } of node.agent?.cohorts() ?? [])
        if (steward !== undefined && state?.spec.name === name && state.status === "active") groups.add(id);
    return groups;
  }

  /** To be asked after convergence. */
  judge(names: readonly string[]): void {
    this.observe();
    for (const name of names) this.#judge(name);
  }

  #judge(name: string): void {
    const acknowledged = [...this.#writes.values()].filter(
      (write) => write.name === name && write.answeredAt !== undefined,
    );
    for (const write of acknowledged) this.#locate(write);
    const living = this.living(name);
    for (const write of acknowledged) this.#judgeOne(write, living);
    this.#judgeOrder(acknowledged);
    if (living === undefined && acknowledged.length > 0) this.#judgeDeletion(name, acknowledged);
  }

  #judgeOne(write: Write, living: CohortState | undefined): void {
    const { requestId, group, index = 0, epoch = 0 } = write;
    const told = `${requestId} (${write.what}), acknowledged at ${write.answeredAt?.toFixed(0)} ms,`;
    if (group === undefined) {
      // Deposed before anybody looked: only a founding that met another one at once ends so.
      const isTie = (living === undefined || living.epoch >= epoch) && index === 1;
      if (!isTie || !this.canTie) this.violations.push(`X1: ${told} is in no log`);
      return;
    }
    const at =
      living?.group === group ? indexIn(living, requestId) : this.#seen.get(group)?.requests.get(requestId);
    if (at !== index) this.violations.push(`X1: ${told} was to be at ${index} and is at ${at ?? "no index"}`);
    if (living === undefined || living.group === group) return;
    if (living.epoch > epoch) {
      if (!this.#mayBeDeleted(write.name, group))
        this.violations.push(`X3: ${told} was lost to ${living.group} without a deletion`);
    } else if (!this.canTie) {
      this.violations.push(`X4: ${told} was lost to ${living.group}, founded at the same time`);
    }
  }

  #judgeOrder(acknowledged: readonly Write[]): void {
    for (const first of acknowledged)
      for (const second of acknowledged) {
        if (first.group === undefined || first.group !== second.group) continue;
        const isLater = (first.answeredAt ?? Infinity) < second.sentAt;
        if (isLater && (first.index ?? 0) >= (second.index ?? 0))
          this.violations.push(
            `X2: ${second.requestId} at ${second.index} was sent after ${first.requestId} at ${first.index} was acknowledged`,
          );
      }
  }

  /** Nothing lives although something was declared: some deletion must have been asked for after it. */
  #judgeDeletion(name: string, acknowledged: readonly Write[]): void {
    const groups = [...this.#seen.values()].filter(({ state }) => state.spec.name === name);
    const newest = Math.max(...groups.map(({ charter }) => charter.epoch));
    const isDeleted = groups.some(
      ({ charter, state }) => charter.epoch === newest && state.status !== "active",
    );
    if (!isDeleted)
      this.violations.push(
        `X1: ${name} is gone and nobody deleted it (${acknowledged.map(({ requestId }) => requestId).join()})`,
      );
  }

  #mayBeDeleted(name: string, group: GroupId): boolean {
    if (this.#seen.get(group)?.state.status !== "active") return true;
    // The members that know of the deletion may never have been looked at again, or a lost lineage hid it.
    const wasAsked = [...this.#writes.values()].some((one) => one.name === name && one.what === "delete");
    return this.canTie && wasAsked;
  }
}

function indexIn(state: CohortState, requestId: string): number | undefined {
  const answer = state.requests.get(requestId);
  return answer?.ok === true ? answer.value.index : undefined;
}
