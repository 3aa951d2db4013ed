/**
 * What a steward must bring to other nodes until they answer: awards, releases and inquiries. What
 * there is to bring is read from the replicated state each time; only when it was last brought is
 * remembered here, so a new steward simply brings everything again.
 */
import type { NodeId, PromiseId } from "../../model/ids.ts";
import type { PromiseTerms } from "../../model/promise.ts";
import type { Instant } from "../machine.ts";
import { nodeName } from "./fleet.ts";
import type { CohortState, PromiseRecord } from "./state.ts";
import { earlier, type Turn } from "./turn.ts";

interface Sent {
  readonly firstAt: Instant;
  readonly dueAt: Instant;
}

interface Inquiry {
  readonly id: number;
  readonly dueAt: Instant;
  /** What the node had promised when first asked: what of it is missing from the answer is gone. */
  readonly expected: ReadonlySet<PromiseId>;
}

export class Errands {
  readonly #awards = new Map<PromiseId, Sent>();
  readonly #releases = new Map<PromiseId, Sent>();
  readonly #inquiries = new Map<NodeId, Inquiry>();
  readonly #toInquire = new Set<NodeId>();
  #nextInquiry = 1;
  #deadline: Instant | undefined;

  /** The node is to be asked for all it has; also tells it whom to report to. */
  inquire(node: NodeId): void {
    this.#toInquire.add(node);
    this.#inquiries.delete(node);
  }

  /** The node will stop it: from now on it is only looked after. */
  releaseAccepted(promise: PromiseId, dueAt: Instant): void {
    const sent = this.#releases.get(promise);
    if (sent !== undefined) this.#releases.set(promise, { ...sent, dueAt });
  }

  /** What a complete answer should have named; undefined when the inquiry is not the open one. */
  inquiryAnswered(node: NodeId, inquiry: number): ReadonlySet<PromiseId> | undefined {
    const open = this.#inquiries.get(node);
    if (open?.id !== inquiry) return undefined;
    this.#inquiries.delete(node);
    return open.expected;
  }

  deadline(): Instant | undefined {
    return this.#deadline;
  }

  /** Sends what is due. `isSettling`: the answer is there, its entry is not committed yet. */
  advance(turn: Turn, isSettling: (promise: PromiseId) => boolean): void {
    this.#deadline = undefined;
    this.#forgetGone(turn.state);
    this.#sendInquiries(turn);
    const awards = new Map<NodeId, PromiseRecord[]>();
    const releases = new Map<NodeId, PromiseRecord[]>();
    for (const promise of turn.state.promises.values()) {
      if (promise.stage === "promised" || !turn.fleet.alive.has(promise.node)) continue;
      if (isSettling(promise.id)) continue;
      const queue = promise.stage === "awarded" ? awards : releases;
      const ofNode = queue.get(promise.node);
      if (ofNode === undefined) queue.set(promise.node, [promise]);
      else ofNode.push(promise);
    }
    this.#sendAwards(turn, awards);
    this.#sendReleases(turn, releases);
  }

  #sendAwards(turn: Turn, byNode: ReadonlyMap<NodeId, readonly PromiseRecord[]>): void {
    for (const [to, waiting] of byNode) {
      const overdue = waiting.filter((promise) => {
        const sent = this.#awards.get(promise.id);
        return sent !== undefined && turn.now >= sent.firstAt + turn.options.awardTimeoutMs;
      });
      if (overdue.length > 0 && !turn.isInFlight("break"))
        turn.propose({
          kind: "break",
          promises: overdue.map((promise) => promise.id),
          reason: `${nodeName(turn.fleet, to)} does not answer to the award`,
        });
      const due = this.#due(turn, this.#awards, waiting);
      if (due.length === 0) continue;
      const promises = due.map((promise) => termsOf(turn.state, promise));
      turn.emit({ kind: "award", to, promises, cohort: turn.cohort });
    }
  }

  #sendReleases(turn: Turn, byNode: ReadonlyMap<NodeId, readonly PromiseRecord[]>): void {
    for (const [to, waiting] of byNode) {
      const due = this.#due(turn, this.#releases, waiting);
      for (const stage of ["releasing", "broken"] as const) {
        const promises = due.filter((promise) => promise.stage === stage).map((promise) => promise.id);
        if (promises.length === 0) continue;
        const reason = stage === "broken" ? "replaced while the node was lost" : "no longer wanted";
        turn.emit({ kind: "release", to, promises, reason, cohort: turn.cohort });
      }
    }
  }

  #sendInquiries(turn: Turn): void {
    const { now, options, state } = turn;
    for (const node of this.#toInquire) {
      const expected = new Set<PromiseId>();
      for (const promise of state.promises.values())
        if (promise.node === node && promise.stage !== "awarded") expected.add(promise.id);
      this.#inquiries.set(node, { id: this.#nextInquiry, dueAt: now, expected });
      this.#nextInquiry += 1;
    }
    this.#toInquire.clear();
    for (const [to, inquiry] of this.#inquiries) {
      if (turn.isLost(to)) this.#inquiries.delete(to);
      if (!turn.fleet.alive.has(to)) continue;
      let { dueAt } = inquiry;
      if (dueAt <= now) {
        dueAt = now + options.inquiryResendMs;
        this.#inquiries.set(to, { ...inquiry, dueAt });
        const { cohort } = turn;
        turn.emit({ kind: "inquire", to, inquiry: inquiry.id, cohort });
      }
      this.#deadline = earlier(this.#deadline, dueAt);
    }
  }

  /** Those to send now, marked as sent. */
  #due(turn: Turn, book: Map<PromiseId, Sent>, waiting: readonly PromiseRecord[]): readonly PromiseRecord[] {
    const { now, options } = turn;
    return waiting.filter(({ id }) => {
      const sent = book.get(id);
      const isDue = sent === undefined || sent.dueAt <= now;
      const dueAt = isDue ? now + options.resendMs : sent.dueAt;
      if (isDue) book.set(id, { firstAt: sent?.firstAt ?? now, dueAt });
      this.#deadline = earlier(this.#deadline, dueAt);
      return isDue;
    });
  }

  #forgetGone(state: CohortState): void {
    for (const id of this.#awards.keys())
      if (state.promises.get(id)?.stage !== "awarded") this.#awards.delete(id);
    for (const id of this.#releases.keys()) if (!state.promises.has(id)) this.#releases.delete(id);
  }
}

/** The whole of what a node admits, from the record in the log. */
function termsOf(state: CohortState, promise: PromiseRecord): PromiseTerms {
  const template = state.templates.get(promise.templateHash) ?? state.spec.template;
  return {
    id: promise.id,
    group: state.group,
    deployment: state.deployment,
    namespace: state.spec.namespace,
    name: state.spec.name,
    epoch: state.epoch,
    replica: promise.replica,
    templateHash: promise.templateHash,
    template,
  };
}
