/** How containers and endpoints are named, so that a new agent knows what belongs to which promise. */
import type { PromiseId } from "../../model/ids.ts";
import type { PromiseTerms } from "../../model/promise.ts";

export const promiseLabel = "muster.promise";
export const attemptLabel = "muster.attempt";
export const deploymentLabel = "muster.deployment";
export const replicaLabel = "muster.replica";
export const containerLabel = "muster.container";

const nameCharactersMax = 63;

/** `name-replica-hash`: readable, and unique on the node by the 64-bit hash of the promise id. */
export function endpointIdOf(terms: PromiseTerms): string {
  const safe = terms.name
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, "-")
    .replace(/^-+/, "")
    .slice(0, nameCharactersMax);
  return `${safe === "" ? "x" : safe}-${terms.replica}-${hash64(terms.id)}`;
}

/** The endpoint's id, the container's place among the template's, and the attempt; never the same for two runs. */
export function containerIdOf(terms: PromiseTerms, index: number, attempt: number): string {
  return containerIdAt(endpointIdOf(terms), index, attempt);
}

export function containerIdAt(endpointId: string, index: number, attempt: number): string {
  return `${endpointId}-${index}-${attempt}`;
}

export function containerLabels(
  terms: PromiseTerms,
  container: string,
  attempt: number,
): Readonly<Record<string, string>> {
  return {
    [promiseLabel]: terms.id,
    [containerLabel]: container,
    [attemptLabel]: String(attempt),
    [deploymentLabel]: `${terms.namespace}/${terms.name}`,
    [replicaLabel]: String(terms.replica),
  };
}

/** Whose run a container is. */
export interface ContainerOwner {
  readonly promise: PromiseId;
  /** The container's name in the template. */
  readonly container: string;
  readonly attempt: number;
}

/** Undefined when the keeper did not make it. */
export function ownerOf(labels: Readonly<Record<string, string>>): ContainerOwner | undefined {
  const promise = labels[promiseLabel];
  const container = labels[containerLabel];
  const attempt = Number(labels[attemptLabel]);
  if (promise === undefined || container === undefined || !Number.isSafeInteger(attempt)) return undefined;
  return { promise, container, attempt };
}

/** FNV-1a, 64 bits, as 16 hex digits. */
function hash64(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (let i = 0; i < text.length; i++) {
    hash ^= BigInt(text.charCodeAt(i));
    hash = BigInt.asUintN(64, hash * 0x100000001b3n);
  }
  return hash.toString(16).padStart(16, "0");
}
