/**
 * The other nodes that this node knows. Everything about which members are kept, drawn and probed is behind this
 * class, so that bounding the view changes this file alone.
 */
import { assert } from "../../model/assert.ts";
import { shuffled, type Rng } from "../rng.ts";
import type { Instant } from "../machine.ts";
import type { NodeId } from "../../model/ids.ts";
import type { MemberRecord } from "../../model/member.ts";
import type { Suspicion } from "./suspicion.ts";

/** Members waiting to be probed out of turn; more than this wait for their turn. */
const URGENT_MAX = 64;

/**
 * Departure: so few members are probed in turn. Reshuffled rounds let three periods pass between two probes of one of
 * two members, which is a third of the time to detect its death.
 */
const STEADY_MEMBERS = 2;

/** A member as this node sees it. The view alone replaces the record. */
export interface Member {
  record: MemberRecord;
  /** When its status last changed here. */
  changedAt: Instant;
  /** Present exactly while the status is suspect. */
  suspicion: Suspicion | undefined;
  /** The last evidence it was declared dead on; passed on in full state. */
  evidence: number;
}

/** True for members that take part: probed, gossiped with, counted. */
export function isPresent(member: Member): boolean {
  return member.record.status === "alive" || member.record.status === "suspect";
}

export class View {
  readonly #rng: Rng;
  readonly #members = new Map<NodeId, Member>();
  /** The rest of the current round of probes, last first. */
  #round: NodeId[] = [];
  /** Probed before anyone else, the oldest request first. */
  readonly #urgent = new Set<NodeId>();
  #present = 0;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  get(id: NodeId): Member | undefined {
    return this.#members.get(id);
  }

  /** Takes a member in; its id must be unknown. */
  add(member: Member): void {
    const id = member.record.id;
    assert(!this.#members.has(id), "a member is added once");
    this.#members.set(id, member);
    if (isPresent(member)) this.#present += 1;
    // A random place in the current round bounds the wait of a newcomer to two rounds (SWIM 4.3).
    this.#round.splice(this.#rng.int(this.#round.length + 1), 0, id);
  }

  remove(id: NodeId): void {
    const member = this.#members.get(id);
    if (member !== undefined && isPresent(member)) this.#present -= 1;
    this.#members.delete(id);
    this.#urgent.delete(id);
  }

  /** Replaces what is known of a member. */
  setRecord(member: Member, record: MemberRecord): void {
    if (isPresent(member)) this.#present -= 1;
    member.record = record;
    if (isPresent(member)) this.#present += 1;
  }

  all(): IterableIterator<Member> {
    return this.#members.values();
  }

  /** Alive and suspect members; the local node is not among them. */
  get presentCount(): number {
    return this.#present;
  }

  /** Gives the member the next probe. */
  probeSoon(id: NodeId): void {
    if (this.#urgent.size < URGENT_MAX) this.#urgent.add(id);
  }

  /** Up to `count` different members that satisfy `accepts`, drawn at random. */
  draw(count: number, accepts: (member: Member) => boolean): Member[] {
    const candidates = [...this.#members.values()].filter(accepts);
    return shuffled(candidates, this.#rng).slice(0, count);
  }

  /** The urgent ones first, else the present member whose turn it is: each once per round, larger rounds in random order (SWIM 4.3). */
  nextProbed(): Member | undefined {
    for (const id of this.#urgent) {
      this.#urgent.delete(id);
      const member = this.#members.get(id);
      if (member !== undefined && isPresent(member)) return member;
    }
    // Two passes: the rest of this round, then one full new round; neither may hold a present member.
    for (let pass = 0; pass < 2; pass++) {
      for (let id = this.#round.pop(); id !== undefined; id = this.#round.pop()) {
        const member = this.#members.get(id);
        if (member !== undefined && isPresent(member)) return member;
      }
      const ids = [...this.#members.keys()];
      this.#round = ids.length <= STEADY_MEMBERS ? ids : shuffled(ids, this.#rng);
    }
    return undefined;
  }

  /** The `count` present members nearest to `key` by XOR distance of 128-bit hex ids. */
  nearest(key: NodeId, count: number): Member[] {
    const target = BigInt(`0x${key}`);
    return [...this.#members.values()]
      .filter(isPresent)
      .map((member) => ({ member, distance: BigInt(`0x${member.record.id}`) ^ target }))
      .sort((a, b) => (a.distance < b.distance ? -1 : a.distance > b.distance ? 1 : 0))
      .slice(0, count)
      .map(({ member }) => member);
  }
}
