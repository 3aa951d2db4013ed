/**
 * The shape every protocol core shares. A core is a pure state machine: input and time go in,
 * effects come out, and nothing else happens. It runs unchanged under the node's driver and in the
 * simulator.
 */

/** Milliseconds on a monotonic clock whose origin is the driver's choice. Only differences mean anything. */
export type Instant = number;

/**
 * A deterministic state machine.
 *
 * The order of the returned effects is a contract: the driver carries them out in array order, and
 * starts nothing that stands after a `persist` effect until that effect is durable.
 */
export interface Machine<Input, Effect> {
  /** Applies one input and runs to completion. A bad message from a peer is an event, never a throw. */
  step(input: Input, now: Instant): readonly Effect[];
  /** When to step with `{ kind: "timeout" }` next; undefined while no timer is needed. */
  deadline(): Instant | undefined;
}
