/** The steward's care for the consensus group: one change in flight, and the log told what came of it. */
import type { NodeId } from "../../model/ids.ts";
import type { Instant } from "../machine.ts";
import type { VoterChange } from "./messages.ts";
import type { Turn } from "./turn.ts";
import { planVoters } from "./voters.ts";

export interface GroupConfig {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly joint: boolean;
}

export class VoterDesk {
  readonly #caughtUp = new Set<NodeId>();
  #inFlight: { readonly proposal: number; readonly until: Instant } | undefined;

  progress(node: NodeId, caughtUp: boolean): void {
    if (caughtUp) this.#caughtUp.add(node);
    else this.#caughtUp.delete(node);
  }

  configChanged(config: GroupConfig): void {
    if (!config.joint) this.#inFlight = undefined;
    for (const node of this.#caughtUp) if (!config.learners.includes(node)) this.#caughtUp.delete(node);
  }

  dropped(proposal: number): boolean {
    if (this.#inFlight?.proposal !== proposal) return false;
    this.#inFlight = undefined;
    return true;
  }

  deadline(): Instant | undefined {
    return this.#inFlight?.until;
  }

  advance(turn: Turn, config: GroupConfig | undefined, proposeChange: (change: VoterChange) => number): void {
    if (config === undefined || config.joint) {
      // Consensus ends a joint configuration by itself; its end comes as an input.
      this.#inFlight = undefined;
      return;
    }
    const { state, now } = turn;
    if (!sameNodes(config.voters, state.voters) && !turn.isInFlight("voters-changed"))
      turn.propose({ kind: "voters-changed", voters: config.voters });
    if (this.#inFlight !== undefined && now < this.#inFlight.until) return;
    this.#inFlight = undefined;
    const change = planVoters({
      state,
      voters: config.voters,
      learners: config.learners,
      fleet: turn.fleet,
      isLost: turn.isLost,
      caughtUp: this.#caughtUp,
    });
    if (change === undefined) return;
    this.#inFlight = {
      proposal: proposeChange(change),
      until: now + turn.options.confChangeTimeoutMs,
    };
  }
}

function sameNodes(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((node) => b.includes(node));
}
