/**
 * Asks programs at an address whether they are well. Called by the node for the replicas that run on it.
 *
 * `probe` never rejects: whatever goes wrong is an answer. It resolves when the signal aborts, at the
 * latest, and leaves no connection behind. Calls may run at the same time.
 */
import type { ProbeAction } from "../model/probe.ts";

/** What is asked over the network; `exec` is for the runtime. */
export type NetworkAction = Exclude<ProbeAction, { readonly kind: "exec" }>;

export interface ProbeAnswer {
  readonly isWell: boolean;
  /** What was found, in words for people; one line. */
  readonly detail: string;
}

export interface Prober {
  /** The addresses are tried in order until one accepts a connection. */
  probe(action: NetworkAction, addresses: readonly string[], signal: AbortSignal): Promise<ProbeAnswer>;
}
