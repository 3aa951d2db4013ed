/** One call for volunteers, from the first question to its close. */
import type { NodeId } from "../../model/ids.ts";
import type { CallAnswer, Offer, PlacementRequest, Refusal } from "../../model/placement.ts";
import type { Instant } from "../machine.ts";

/** Answers waited for beyond the count: with fewer, the nearest nodes would get everything. */
const choiceMin = 2;

export class CallRound {
  readonly id: number;
  readonly request: PlacementRequest;
  readonly templateHash: string;
  readonly #offers = new Map<NodeId, Offer>();
  readonly #refusals = new Map<NodeId, Refusal>();
  readonly #asked = new Set<NodeId>();
  #rest: readonly NodeId[];
  #closesAt: Instant;

  constructor(
    call: {
      readonly id: number;
      readonly request: PlacementRequest;
      readonly templateHash: string;
      readonly first: readonly NodeId[];
      readonly rest: readonly NodeId[];
    },
    closesAt: Instant,
  ) {
    this.id = call.id;
    this.request = call.request;
    this.templateHash = call.templateHash;
    for (const node of call.first) this.#asked.add(node);
    this.#rest = call.rest;
    this.#closesAt = closesAt;
  }

  get closesAt(): Instant {
    return this.#closesAt;
  }

  get askedCount(): number {
    return this.#asked.size;
  }

  get offers(): readonly Offer[] {
    return [...this.#offers.values()];
  }

  /** A repeated answer replaces the earlier one; of a node that was not asked nothing is taken. */
  answer(node: NodeId, answer: CallAnswer): void {
    if (!this.#asked.has(node)) return;
    this.#offers.delete(node);
    this.#refusals.delete(node);
    if (answer.kind === "offer") this.#offers.set(node, answer.offer);
    else this.#refusals.set(node, answer.refusal);
  }

  /** `close` as soon as there are slots enough and some choice; otherwise ask more, as long as there are any. */
  verdict(now: Instant): "wait" | "widen" | "close" {
    const answered = this.#offers.size + this.#refusals.size;
    let slots = 0;
    for (const offer of this.#offers.values()) slots += offer.slots;
    const { count } = this.request;
    const hasEnough = slots >= count;
    if (hasEnough && answered >= Math.min(count + choiceMin, this.#asked.size)) return "close";
    if (answered < this.#asked.size && now < this.#closesAt) return "wait";
    return hasEnough || this.#rest.length === 0 ? "close" : "widen";
  }

  /** The nodes to ask now besides those asked already. */
  widen(closesAt: Instant): readonly NodeId[] {
    const more = this.#rest;
    for (const node of more) this.#asked.add(node);
    this.#rest = [];
    this.#closesAt = closesAt;
    return more;
  }

  /** What was refused; silence counts as one. */
  refusals(): readonly Refusal[] {
    const silent: Refusal[] = [];
    for (const node of this.#asked)
      if (!this.#offers.has(node) && !this.#refusals.has(node))
        silent.push({
          node,
          reason: "unreachable",
          detail: "no answer to the call",
        });
    return [...this.#refusals.values(), ...silent];
  }
}
