/** What a new agent makes of the book it finds and of what the machine runs. */
import { defined } from "../../model/assert.ts";
import type { Instant } from "../machine.ts";
import type { PromiseId } from "../../model/ids.ts";
import { containerIdAt, ownerOf } from "./container-ids.ts";
import { containerEnded } from "./ends.ts";
import { amendPart, createInstance, entryOf, runIdOf, setPartMessage, type Instance } from "./instance.ts";
import type { BookEntry, ObservedContainer, ObservedEndpoint, SweepTarget } from "./messages.ts";
import type { Part, RunState } from "./part.ts";
import { noteStart } from "./progress.ts";
import { beginProbing, resumeProbing } from "./probing.ts";

export interface Adoption {
  /** In order of admission. */
  readonly instances: readonly Instance[];
  /** What no promise wants. */
  readonly strays: readonly SweepTarget[];
}

/** Containers that run go on running (K6); those that ended or are gone meet their restart policy. */
export function adoptAll(
  entries: readonly BookEntry[],
  containers: readonly ObservedContainer[],
  endpoints: readonly ObservedEndpoint[],
  now: Instant,
): Adoption {
  const containersOf = byPromise(containers);
  const endpointById = new Map(endpoints.map((one) => [one.id, one]));
  const kept = new Set<string>();
  const instances = entries
    .toSorted((a, b) => a.order - b.order)
    .map((entry) => {
      const instance = createInstance(entry);
      const endpoint = endpointById.get(instance.endpointId);
      if (endpoint !== undefined) {
        kept.add(endpoint.id);
        instance.endpoint = "ready";
        instance.networkNamespace = endpoint.networkNamespace;
      }
      for (const part of instance.parts) {
        const own = newestOf((containersOf.get(entry.terms.id) ?? []).filter(isOf(instance, part)));
        if (own !== undefined) kept.add(own.id);
        adopt(instance, part, own, now);
      }
      return instance;
    });
  const strays: SweepTarget[] = [];
  for (const { id, labels } of containers)
    if (ownerOf(labels) !== undefined && !kept.has(id)) strays.push({ what: "container", id });
  for (const { id } of endpoints) if (!kept.has(id)) strays.push({ what: "endpoint", id });
  return { instances, strays };
}

function byPromise(containers: readonly ObservedContainer[]): Map<PromiseId, ObservedContainer[]> {
  const result = new Map<PromiseId, ObservedContainer[]>();
  for (const container of containers) {
    const owner = ownerOf(container.labels);
    if (owner === undefined) continue;
    const siblings = result.get(owner.promise);
    if (siblings === undefined) result.set(owner.promise, [container]);
    else siblings.push(container);
  }
  return result;
}

/** One that runs before all others, else the one of the highest attempt. */
function newestOf(containers: readonly ObservedContainer[]): ObservedContainer | undefined {
  const rank = (one: ObservedContainer): number =>
    (one.phase === "running" ? 2 ** 40 : 0) + (ownerOf(one.labels)?.attempt ?? 0);
  return containers.toSorted((a, b) => rank(b) - rank(a) || (a.id < b.id ? -1 : 1))[0];
}

/** Both by name and by id: an attempt that a container names is its own. */
function isOf(instance: Instance, part: Part): (container: ObservedContainer) => boolean {
  return ({ id, labels }) => {
    const owner = ownerOf(labels);
    if (owner?.container !== part.name) return false;
    return id === containerIdAt(instance.endpointId, part.index, owner.attempt);
  };
}

function adopt(instance: Instance, part: Part, container: ObservedContainer | undefined, now: Instant): void {
  const entry = entryOf(instance, part);
  part.isBegun = entry.phase !== "waiting";
  if (container === undefined) {
    adoptMissing(instance, part, now);
    return;
  }
  const attempt = defined(ownerOf(container.labels), "the owner of a container of ours").attempt;
  if (attempt > entry.attempt) amendPart(instance, part, { attempt });
  part.isBegun = true;
  part.state = stateOf(container, attempt, instance, now);
  if (container.phase === "created") return;
  const isNews = attempt > entry.startedAttempt;
  noteStart(instance, part, attempt);
  if (container.phase === "running") {
    if (isNews) beginProbing(instance, part, now);
    else resumeProbing(instance, part, now);
    if (instance.entry.desired === "running" && isNews) setPartMessage(instance, part, undefined);
    return;
  }
  // What is older than the newest attempt has been judged before, perhaps in another network.
  if (attempt < entry.attempt) part.hasStarted = false;
  else if (!entry.isDone) {
    containerEnded(instance, part, container, now);
    return;
  }
  const remains = container.phase === "unknown" ? "doubtful" : "logs";
  part.state = { kind: "ended", attempt, exitCode: container.exitCode, ranMs: 0, isSettled: true, remains };
}

/** As it was before an end is applied to it: what ended must have run. */
function stateOf(
  container: ObservedContainer,
  attempt: number,
  { endpoint }: Instance,
  now: Instant,
): RunState {
  if (container.phase !== "created") return { kind: "running", attempt, since: now };
  // A container that was to join a network which is gone cannot start any more.
  return endpoint === "ready" ? { kind: "created", attempt } : { kind: "unsure", attempt };
}

/** No container: it is started again, unless it ran and is to run only once. */
function adoptMissing(instance: Instance, part: Part, now: Instant): void {
  const { attempt, isDone, startedAttempt } = entryOf(instance, part);
  if (instance.entry.desired === "released" || isDone || startedAttempt !== attempt) return;
  part.state = { kind: "running", attempt, since: now };
  containerEnded(instance, part, undefined, now);
}

/** What a list shows that no promise wants; `skips` says of which containers the list is too old to tell. */
export function straysOf(
  instances: ReadonlyMap<PromiseId, Instance>,
  containers: readonly ObservedContainer[],
  skips: (part: Part) => boolean,
): readonly SweepTarget[] {
  const strays: SweepTarget[] = [];
  for (const { id, labels } of containers) {
    const owner = ownerOf(labels);
    if (owner === undefined) continue;
    const instance = instances.get(owner.promise);
    if (instance !== undefined) {
      const part = instance.parts.find(({ name }) => name === owner.container);
      if (part !== undefined && (skips(part) || isRunOf(instance, part, id))) continue;
    }
    strays.push({ what: "container", id });
  }
  return strays;
}

function isRunOf(instance: Instance, part: Part, id: string): boolean {
  return part.state.kind !== "none" && runIdOf(instance, part) === id;
}
