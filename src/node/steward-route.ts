/** Finds the way to a cohort's steward from any node: the local member, then hints, then the voters. */
import type { Charter } from "../model/charter.ts";
import type { GroupId, NodeId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";

/** What one node said when it was asked as a steward. */
export type StewardAnswer<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "not-steward"; readonly steward?: NodeId | undefined }
  | { readonly kind: "unknown-group" }
  | { readonly kind: "failed"; readonly reason: string };

export interface StewardRoutePorts {
  readonly clock: Clock;
  /** Whom a member here takes for the steward. */
  readonly groups: { get(group: GroupId): { readonly steward: NodeId | undefined } | undefined };
}

export interface RouteFailure {
  /** Node and what it said, in the order asked last. */
  readonly tried: ReadonlyMap<NodeId, string>;
  /** A voter did not know the group: the charter may be old. */
  readonly isStale: boolean;
}

const retryPauseMs = 50;
/** A node that says nothing for so long is asked again later: perhaps it died with the question. */
const patienceMs = 500;

export async function pause(clock: Clock, milliseconds: number): Promise<void> {
  await new Promise<void>((resolve) => clock.at(clock.now() + milliseconds, resolve));
}

/**
 * Asks until a steward answers or the deadline comes; an election in between is waited for. `ask` gets
 * the time that is left and must be safe to repeat.
 */
export async function askSteward<T>(
  ports: StewardRoutePorts,
  charter: Charter,
  deadline: number,
  ask: (node: NodeId, timeoutMs: number) => Promise<StewardAnswer<T>>,
): Promise<{ readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: RouteFailure }> {
  const tried = new Map<NodeId, string>();
  for (;;) {
    const local = ports.groups.get(charter.group);
    const queue = [...(local?.steward === undefined ? [] : [local.steward]), ...charter.voters];
    const asked = new Set<NodeId>();
    let strangers = 0;
    for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
      if (asked.has(node)) continue;
      asked.add(node);
      const leftMs = deadline - ports.clock.now();
      if (leftMs <= 0) return { ok: false, error: { tried, isStale: false } };
      const answer = await ask(node, Math.min(leftMs, patienceMs));
      if (answer.kind === "done") return { ok: true, value: answer.value };
      if (answer.kind === "unknown-group") strangers += 1;
      if (answer.kind === "not-steward" && answer.steward !== undefined) queue.unshift(answer.steward);
      tried.set(node, answer.kind === "failed" ? answer.reason : answer.kind);
    }
    if (strangers === asked.size) return { ok: false, error: { tried, isStale: true } };
    if (deadline - ports.clock.now() <= retryPauseMs) return { ok: false, error: { tried, isStale: false } };
    await pause(ports.clock, retryPauseMs);
  }
}
