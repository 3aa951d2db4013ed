/**
 * Who is in the fleet, as far as this node knows: merges what it hears and what its probes see.
 *
 * Of two statements about one member the greater incarnation is newer. At one incarnation, dead and left
 * override suspect, and suspect overrides alive. Only the member itself raises its incarnation, so only it
 * can refute (SWIM 4.2). The numbered invariants are in docs/protocols/membership.md.
 */
import { assert } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import type { MemberMeta, MemberRecord } from "../../model/member.ts";
import type { Instant } from "../machine.ts";
import type { Rng } from "../rng.ts";
import type { Awareness } from "./awareness.ts";
import type { BroadcastQueue } from "./broadcast-queue.ts";
import type { MembershipOptions } from "./options.ts";
import type { FullState, Outbox, Sender, SuspicionReason, Update } from "./protocol.ts";
import { reasonOf, Suspicion } from "./suspicion.ts";
import { suspicionTimeoutMs, type SuspicionSpan } from "./timing.ts";
import { isPresent, type Member, type View } from "./view.ts";

export interface RosterParts {
  readonly view: View;
  readonly queue: BroadcastQueue;
  readonly outbox: Outbox;
  readonly awareness: Awareness;
  readonly rng: Rng;
}

/** Bad news that a member should hear from us directly, so that it can refute at once. */
export interface Notice {
  readonly member: MemberRecord;
  readonly update: Update;
}

type Accusation = Extract<Update, { readonly kind: "suspect" | "dead" | "left" }>;
type SuspectUpdate = Extract<Update, { readonly kind: "suspect" }>;
type DeadUpdate = Extract<Update, { readonly kind: "dead" }>;

export class Roster {
  readonly #parts: RosterParts;
  readonly #options: MembershipOptions;
  readonly #suspects = new Set<NodeId>();
  readonly #gone = new Set<NodeId>();
  #self: MemberRecord;
  #hasTurnover = false;

  constructor(parts: RosterParts, options: MembershipOptions, self: MemberRecord) {
    assert(self.addresses.length > 0, "a member has an address");
    this.#parts = parts;
    this.#options = options;
    this.#self = self;
  }

  get self(): MemberRecord {
    return this.#self;
  }

  get sender(): Sender {
    return { id: this.#self.id, address: this.#self.addresses[0] ?? "" };
  }

  /** Dead members; left ones said goodbye and are not tried again. */
  get hasDead(): boolean {
    for (const id of this.#gone) if (this.#parts.view.get(id)?.record.status === "dead") return true;
    return false;
  }

  /** True once after somebody came, returned, refuted, died or left. */
  takeTurnover(): boolean {
    const had = this.#hasTurnover;
    this.#hasTurnover = false;
    return had;
  }

  announceMeta(meta: MemberMeta): void {
    this.#raise({ meta });
  }

  /** Back among the living after an own leave. */
  announceReturn(): void {
    this.#raise({ status: "alive" });
  }

  announceLeave(): void {
    this.#self = { ...this.#self, status: "left" };
    this.#parts.queue.push({ kind: "left", id: this.#self.id, incarnation: this.#self.incarnation });
  }

  /** Merges one piece of gossip. True when it brought a dead or left member back. */
  apply(update: Update, now: Instant): boolean {
    if (update.kind === "alive") {
      if (update.record.id !== this.#self.id) return this.#applyAlive(update.record, now);
      this.#hearOfSelf(update.record);
      return false;
    }
    if (update.id === this.#self.id) {
      this.#refute(update);
      return false;
    }
    const member = this.#parts.view.get(update.id);
    if (member === undefined || update.incarnation < member.record.incarnation) return false;
    if (!isPresent(member)) return false;
    if (update.kind === "suspect") this.#applySuspect(member, update, now);
    else if (update.kind === "dead") this.#applyDead(member, update, now);
    else this.#applyLeft(member, update.incarnation, now);
    return false;
  }

  /**
   * Merges another member's full state. A death or suspicion found there is not taken over: the member is
   * probed at once and told, because old state is weaker evidence than an answer.
   */
  applyState(state: FullState, now: Instant): Notice[] {
    const notices: Notice[] = [];
    for (const { record, evidence, goneForMs } of state.members) {
      if (record.id === this.#self.id) {
        this.#hearOfSelf(record);
        continue;
      }
      const known = this.#parts.view.get(record.id);
      const isGone = record.status === "dead" || record.status === "left";
      if (known === undefined && isGone) {
        this.#remember(record, evidence, now - goneForMs, now);
      } else if (record.status === "alive") {
        this.#applyAlive(record, now);
        // Taken for dead here and alive over there, as after a partition: it can only speak for itself.
        const notice = this.noticeFor(record.id);
        if (notice?.kind === "dead") notices.push({ member: record, update: notice });
      } else if (record.status === "left") {
        this.apply({ kind: "left", id: record.id, incarnation: record.incarnation }, now);
      } else if (
        known === undefined ||
        (isPresent(known) && record.incarnation >= known.record.incarnation)
      ) {
        this.#applyAlive({ ...record, status: "alive" }, now);
        this.#parts.view.probeSoon(record.id);
        const facts = { id: record.id, incarnation: record.incarnation, accuser: state.from.id, evidence };
        notices.push({ member: record, update: { kind: record.status, ...facts } });
      }
    }
    return notices;
  }

  /** An own probe of `id` at `incarnation` failed. */
  accuse(
    accused: { readonly id: NodeId; readonly incarnation: number },
    reason: SuspicionReason,
    now: Instant,
  ): void {
    const member = this.#parts.view.get(accused.id);
    if (member === undefined || !isPresent(member)) return;
    if (member.record.incarnation !== accused.incarnation) return;
    const facts = { kind: "suspect", ...accused, accuser: this.#self.id } as const;
    if (member.suspicion === undefined) {
      this.#suspect(member, { ...facts, evidence: reason === "timeout" ? 0 : 1 }, now);
      return;
    }
    const outcome = member.suspicion.observe(this.#self.id, reason, now);
    if (outcome === "known") return;
    this.#parts.queue.push({ ...facts, evidence: member.suspicion.evidence });
    if (outcome === "changed") this.#tellSuspicion(member, this.#self.id);
  }

  /** What a suspect, dead or left member must hear to be able to refute (Lifeguard 4.3, the buddy system). */
  noticeFor(id: NodeId): Update | undefined {
    const member = this.#parts.view.get(id);
    if (member === undefined || member.record.status === "alive") return undefined;
    const { status, incarnation } = member.record;
    if (status === "left") return { kind: "left", id, incarnation };
    const evidence = member.suspicion?.evidence ?? member.evidence;
    return { kind: status, id, incarnation, accuser: this.#self.id, evidence };
  }

  /** Declares those dead whose suspicion ran out, and forgets those gone for long. */
  expire(now: Instant): void {
    const { view } = this.#parts;
    for (const id of this.#suspects) {
      const member = view.get(id);
      assert(member?.suspicion !== undefined, "M4: a suspect has a suspicion");
      if (member.suspicion.endsAt() > now) continue;
      const facts = { id, incarnation: member.record.incarnation, accuser: this.#self.id };
      this.#applyDead(member, { kind: "dead", ...facts, evidence: member.suspicion.evidence }, now);
    }
    for (const id of this.#gone) {
      const member = view.get(id);
      assert(member !== undefined && !isPresent(member), "M5: only dead and left members are gone");
      if (member.changedAt + this.#options.forgetAfterMs > now) continue;
      this.#gone.delete(id);
      view.remove(id);
      this.#parts.queue.drop(id);
      this.#parts.outbox.event({ kind: "member-forgotten", member: member.record });
    }
  }

  deadline(): Instant | undefined {
    let earliest = Infinity;
    const { view } = this.#parts;
    for (const id of this.#suspects)
      earliest = Math.min(earliest, view.get(id)?.suspicion?.endsAt() ?? Infinity);
    for (const id of this.#gone) {
      earliest = Math.min(earliest, (view.get(id)?.changedAt ?? Infinity) + this.#options.forgetAfterMs);
    }
    return earliest === Infinity ? undefined : earliest;
  }

  /** This node did not run for `pausedMs`: whoever refuted meanwhile must still be heard. */
  extendSuspicions(pausedMs: number): void {
    for (const id of this.#suspects) this.#parts.view.get(id)?.suspicion?.extend(pausedMs);
  }

  fullState(now: Instant): FullState {
    const members: FullState["members"][number][] = [{ record: this.#self, evidence: 0, goneForMs: 0 }];
    for (const member of this.#parts.view.all()) {
      const evidence = member.suspicion?.evidence ?? member.evidence;
      const goneForMs = isPresent(member) ? 0 : Math.max(0, now - member.changedAt);
      members.push({ record: member.record, evidence, goneForMs });
    }
    return { from: this.sender, members };
  }

  #applyAlive(record: MemberRecord, now: Instant): boolean {
    const { view, queue, outbox } = this.#parts;
    const known = view.get(record.id);
    if (known === undefined) {
      view.add({ record, changedAt: now, suspicion: undefined, evidence: 0 });
      queue.push({ kind: "alive", record });
      this.#hasTurnover = true;
      outbox.event({ kind: "member-joined", member: record });
      return false;
    }
    if (record.incarnation <= known.record.incarnation) return false;
    const before = known.record;
    const { suspicion } = known;
    view.setRecord(known, { ...record, status: "alive" });
    known.suspicion = undefined;
    this.#suspects.delete(record.id);
    this.#gone.delete(record.id);
    if (before.status !== "alive") {
      known.changedAt = now;
      this.#hasTurnover = true;
    }
    queue.push({ kind: "alive", record: known.record });
    const hasReturned = before.status === "dead" || before.status === "left";
    if (suspicion !== undefined) {
      outbox.event({ kind: "member-refuted", member: known.record, suspectedForMs: now - suspicion.since });
    }
    if (hasReturned) outbox.event({ kind: "member-joined", member: known.record });
    else if (!isSameContent(before, known.record))
      outbox.event({ kind: "member-updated", member: known.record });
    return hasReturned;
  }

  #applySuspect(member: Member, update: SuspectUpdate, now: Instant): void {
    if (member.suspicion === undefined || update.incarnation > member.record.incarnation) {
      this.#suspect(member, update, now);
    } else {
      const outcome = member.suspicion.hear(update.accuser, update.evidence, now);
      if (outcome === "known") return;
      this.#parts.queue.push(update);
      if (outcome === "changed") this.#tellSuspicion(member, update.accuser);
    }
    // Departure: a few of those who hear of a suspicion look for themselves at once, so that it is
    // confirmed or refuted within a period or two, however large the fleet.
    const lookers = 2 * this.#options.suspicionConfirmations;
    if (this.#parts.rng.next() * (this.#parts.view.presentCount + 1) < lookers) {
      this.#parts.view.probeSoon(update.id);
    }
  }

  #suspect(member: Member, update: SuspectUpdate, now: Instant): void {
    const settings = { span: this.#span(), graceMs: this.#options.refusedGraceMs };
    member.suspicion = new Suspicion(settings, update, now);
    member.changedAt = now;
    this.#parts.view.setRecord(member, {
      ...member.record,
      incarnation: update.incarnation,
      status: "suspect",
    });
    this.#suspects.add(update.id);
    this.#parts.queue.push(update);
    this.#tellSuspicion(member, update.accuser);
  }

  #tellSuspicion(member: Member, accuser: NodeId): void {
    const isOwnProbe = accuser === this.#self.id;
    if (member.suspicion?.reason === "refused") {
      const graceMs = this.#options.refusedGraceMs;
      this.#parts.outbox.event({ kind: "member-refused", member: member.record, accuser, graceMs });
    } else this.#parts.outbox.event({ kind: "member-suspected", member: member.record, accuser, isOwnProbe });
  }

  #applyDead(member: Member, update: DeadUpdate, now: Instant): void {
    const { suspicion } = member;
    this.#depart(member, { status: "dead", incarnation: update.incarnation }, now);
    member.evidence = update.evidence;
    this.#parts.queue.push(update);
    const detection = {
      reason: reasonOf(update.evidence),
      accuser: update.accuser,
      isOwnVerdict: update.accuser === this.#self.id,
      accusers: suspicion?.accusers ?? 0,
      suspectedForMs: suspicion === undefined ? 0 : now - suspicion.since,
    };
    this.#parts.outbox.event({ kind: "member-dead", member: member.record, detection });
  }

  #applyLeft(member: Member, incarnation: number, now: Instant): void {
    this.#depart(member, { status: "left", incarnation }, now);
    this.#parts.queue.push({ kind: "left", id: member.record.id, incarnation });
    this.#parts.outbox.event({ kind: "member-left", member: member.record });
  }

  #depart(member: Member, change: Pick<MemberRecord, "status" | "incarnation">, now: Instant): void {
    member.suspicion = undefined;
    member.changedAt = now;
    this.#parts.view.setRecord(member, { ...member.record, ...change });
    this.#suspects.delete(member.record.id);
    this.#gone.add(member.record.id);
    this.#hasTurnover = true;
  }

  /** Takes over the memory of a member that was gone before this node came. */
  #remember(record: MemberRecord, evidence: number, changedAt: Instant, now: Instant): void {
    if (changedAt + this.#options.forgetAfterMs <= now) return;
    this.#parts.view.add({ record, changedAt, suspicion: undefined, evidence });
    this.#gone.add(record.id);
  }

  #refute(accusation: Accusation): void {
    if (this.#self.status !== "alive") return;
    if (accusation.incarnation < this.#self.incarnation) {
      // The accuser has missed the refutation; it is in the next datagrams again.
      this.#parts.queue.push({ kind: "alive", record: this.#self });
      return;
    }
    this.#raise({ incarnation: accusation.incarnation });
    this.#parts.awareness.adjust(1);
    const accuser = accusation.kind === "left" ? undefined : accusation.accuser;
    this.#parts.outbox.event({ kind: "self-refuted", incarnation: this.#self.incarnation, accuser });
  }

  /** What others hold of this node: an older life of it may have got further than this one. */
  #hearOfSelf(record: MemberRecord): void {
    const { incarnation, status } = this.#self;
    if (status !== "alive" || record.incarnation < incarnation) return;
    if (record.status === "alive") {
      if (record.incarnation > incarnation || !isSameContent(record, this.#self)) {
        this.#raise({ incarnation: record.incarnation });
      }
      return;
    }
    if (record.status === "left")
      this.#refute({ kind: "left", id: record.id, incarnation: record.incarnation });
    else {
      const facts = { id: record.id, incarnation: record.incarnation, accuser: record.id, evidence: 0 };
      this.#refute({ kind: record.status, ...facts });
    }
  }

  /** One more than the greater of the own incarnation and the one given; gossiped. */
  #raise(change: Partial<Pick<MemberRecord, "meta" | "status" | "incarnation">>): void {
    const incarnation = Math.max(this.#self.incarnation, change.incarnation ?? 0) + 1;
    this.#self = { ...this.#self, ...change, incarnation };
    this.#parts.queue.push({ kind: "alive", record: this.#self });
  }

  #span(): SuspicionSpan {
    const { suspicionMult, probeIntervalMs, suspicionMaxFactor, suspicionConfirmations } = this.#options;
    const n = this.#parts.view.presentCount + 1;
    const minMs = suspicionTimeoutMs(suspicionMult, n, probeIntervalMs);
    // Besides the suspect and the first accuser, n - 2 members are left to confirm.
    const confirmationsWanted = n - 2 < suspicionConfirmations ? 0 : suspicionConfirmations;
    return { minMs, maxMs: minMs * suspicionMaxFactor, confirmationsWanted };
  }
}

/** True when nothing but status and incarnation differs. Meta is compared field by field, in any order. */
function isSameContent(a: MemberRecord, b: MemberRecord): boolean {
  const content = ({ name, addresses, meta }: MemberRecord): string => {
    const fields = Object.entries(meta).sort(([left], [right]) => (left < right ? -1 : 1));
    return JSON.stringify([name, addresses, fields]);
  };
  return content(a) === content(b);
}
