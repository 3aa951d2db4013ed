/** What a new agent makes of the book it finds and of what the machine runs. */
import type { Instant } from "../machine.ts";
import type { PromiseId } from "../../model/ids.ts";
import { containerIdOf, endpointIdOf, ownerOf } from "./container-ids.ts";
import { amend, createInstance, setMessage, type ContainerState, type Instance } from "./instance.ts";
import type { BookEntry, ObservedContainer, ObservedEndpoint, SweepTarget } from "./messages.ts";
import { containerEnded, noteStart } from "./progress.ts";

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
      const own = newestOf(containersOf.get(entry.terms.id) ?? []);
      const endpoint = endpointById.get(endpointIdOf(entry.terms));
      if (own !== undefined) kept.add(own.id);
      if (endpoint !== undefined) kept.add(endpoint.id);
      adopt(instance, own, endpoint, now);
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

function adopt(
  instance: Instance,
  container: ObservedContainer | undefined,
  endpoint: ObservedEndpoint | undefined,
  now: Instant,
): void {
  if (endpoint !== undefined) {
    instance.endpoint = "ready";
    instance.networkNamespace = endpoint.networkNamespace;
  }
  instance.isBegun = instance.entry.phase !== "admitted";
  if (container === undefined) {
    adoptMissing(instance, now);
    return;
  }
  const attempt = ownerOf(container.labels)?.attempt ?? 0;
  if (attempt > instance.entry.attempt) amend(instance, { attempt });
  instance.isBegun = true;
  instance.container = stateOf(container, attempt, endpoint, now);
  if (container.phase === "created") return;
  noteStart(instance, attempt);
  if (container.phase === "running") {
    if (instance.entry.desired === "running") setMessage(instance, undefined);
    return;
  }
  if (!instance.isCompleted) {
    containerEnded(instance, container, now);
    return;
  }
  instance.container = {
    kind: "ended",
    attempt,
    exitCode: container.exitCode,
    ranMs: 0,
    isSettled: true,
  };
}

/** As it was before an end is applied to it: what ended must have run. */
function stateOf(
  container: ObservedContainer,
  attempt: number,
  endpoint: ObservedEndpoint | undefined,
  now: Instant,
): ContainerState {
  if (container.phase !== "created") return { kind: "running", attempt, since: now };
  // A container that was to join a network which is gone cannot start any more.
  return endpoint === undefined ? { kind: "unsure", attempt } : { kind: "created", attempt };
}

/** No container: the promise is started again, unless it ran and is to run only once. */
function adoptMissing(instance: Instance, now: Instant): void {
  const { entry } = instance;
  if (entry.desired === "released" || instance.isCompleted) return;
  if (entry.startedAttempt !== entry.attempt) return;
  instance.container = { kind: "running", attempt: entry.attempt, since: now };
  containerEnded(instance, undefined, now);
}

/** What a list shows that no promise wants; `skips` says of which promises the list is too old to tell. */
export function straysOf(
  instances: ReadonlyMap<PromiseId, Instance>,
  containers: readonly ObservedContainer[],
  skips: (instance: Instance) => boolean,
): readonly SweepTarget[] {
  const strays: SweepTarget[] = [];
  for (const { id, labels } of containers) {
    const owner = ownerOf(labels);
    if (owner === undefined) continue;
    const instance = instances.get(owner.promise);
    if (instance !== undefined) {
      if (skips(instance)) continue;
      const { container, entry } = instance;
      const isOurs = container.kind !== "none" && containerIdOf(entry.terms, container.attempt) === id;
      if (isOurs) continue;
    }
    strays.push({ what: "container", id });
  }
  return strays;
}
