/**
 * One suspicion of one incarnation of one member.
 *
 * Evidence. Probes may disagree over time, and news travels in any order, so what was seen carries a
 * stamp that only own probes raise: 0 and every even stamp mean "nothing answers", odd ones mean "the
 * machine answers, the agent does not". The greater stamp is the newer evidence. A probe that agrees with
 * the greatest stamp known confirms it; one that disagrees makes the next stamp.
 *
 * - An odd stamp grants the grace, counted once per incarnation from the first refusal.
 * - An even stamp heard from another member never shortens a grace: the machine may be unreachable to that
 *   member only. It is remembered, so that the next own refusal outbids it. Only an own probe to which
 *   nothing answered ends the grace, and starts the ordinary suspicion from then.
 */
import type { NodeId } from "../../model/ids.ts";
import type { Instant } from "../machine.ts";
import type { SuspicionReason } from "./protocol.ts";
import { suspicionDurationMs, type SuspicionSpan } from "./timing.ts";

/** What a stamp says. */
export function reasonOf(evidence: number): SuspicionReason {
  return evidence % 2 === 0 ? "timeout" : "refused";
}

/** More names than any span wants need not be kept. */
const ACCUSERS_MAX = 16;

/** What became of a piece of evidence. `changed` and `confirmed` are worth passing on. */
export type EvidenceOutcome = "changed" | "confirmed" | "known";

export class Suspicion {
  readonly #span: SuspicionSpan;
  readonly #graceMs: number;
  readonly #since: Instant;
  readonly #accusers = new Set<NodeId>();
  #evidence: number;
  #evidenceHeard: number;
  #startedAt: Instant;
  #graceEndsAt: Instant | undefined;
  /** Time this node itself was paused, during which a refutation may have waited unread. */
  #pausedMs = 0;

  constructor(
    settings: { readonly span: SuspicionSpan; readonly graceMs: number },
    first: { readonly accuser: NodeId; readonly evidence: number },
    now: Instant,
  ) {
    this.#span = settings.span;
    this.#graceMs = settings.graceMs;
    this.#since = now;
    this.#startedAt = now;
    this.#evidence = first.evidence;
    this.#evidenceHeard = first.evidence;
    this.#accusers.add(first.accuser);
    if (reasonOf(first.evidence) === "refused") this.#graceEndsAt = now + settings.graceMs;
  }

  /** The stamp that decides how this suspicion is timed. */
  get evidence(): number {
    return this.#evidence;
  }

  get reason(): SuspicionReason {
    return reasonOf(this.#evidence);
  }

  get since(): Instant {
    return this.#since;
  }

  get accusers(): number {
    return this.#accusers.size;
  }

  /** When the suspect is dead unless it refutes first. */
  endsAt(): Instant {
    if (this.reason === "refused" && this.#graceEndsAt !== undefined)
      return this.#graceEndsAt + this.#pausedMs;
    const confirmations = Math.max(0, this.#accusers.size - 1);
    const ordinary = this.#startedAt + suspicionDurationMs(this.#span, confirmations);
    return Math.min(ordinary, this.#graceEndsAt ?? ordinary) + this.#pausedMs;
  }

  /** Takes what another member's probe saw. */
  hear(accuser: NodeId, evidence: number, now: Instant): EvidenceOutcome {
    if (evidence === this.#evidence) {
      this.#evidenceHeard = Math.max(this.#evidenceHeard, evidence);
      return this.#confirm(accuser);
    }
    if (evidence < this.#evidence) return "known";
    const isNews = evidence > this.#evidenceHeard;
    this.#evidenceHeard = Math.max(this.#evidenceHeard, evidence);
    if (this.reason === "refused" && reasonOf(evidence) === "timeout") return isNews ? "confirmed" : "known";
    this.#adopt(accuser, evidence, now);
    return "changed";
  }

  /** Takes what an own probe saw. */
  observe(self: NodeId, reason: SuspicionReason, now: Instant): EvidenceOutcome {
    const heard = this.#evidenceHeard;
    const evidence = reasonOf(heard) === reason ? heard : heard + 1;
    if (evidence === this.#evidence) return this.#confirm(self);
    this.#evidenceHeard = evidence;
    this.#adopt(self, evidence, now);
    return "changed";
  }

  /** Gives back the time during which this node could not have read a refutation. */
  extend(pausedMs: number): void {
    this.#pausedMs += pausedMs;
  }

  #confirm(accuser: NodeId): EvidenceOutcome {
    if (this.#accusers.has(accuser) || this.#accusers.size >= ACCUSERS_MAX) return "known";
    this.#accusers.add(accuser);
    return this.#accusers.size - 1 <= this.#span.confirmationsWanted ? "confirmed" : "known";
  }

  #adopt(accuser: NodeId, evidence: number, now: Instant): void {
    const reasonBefore = this.reason;
    this.#evidence = evidence;
    if (this.reason !== reasonBefore) this.#accusers.clear();
    this.#accusers.add(accuser);
    if (this.reason === "refused") this.#graceEndsAt ??= now + this.#graceMs;
    else if (reasonBefore === "refused") this.#startedAt = now;
  }
}
