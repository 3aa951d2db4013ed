/** Identifiers that are digests, and the one form in which a value is hashed. */
import { createHash } from "node:crypto";
import { assert } from "../model/assert.ts";
import type { DeploymentId, NodeId } from "../model/ids.ts";

const idHexDigits = 32;

/** SHA-256 in 64 lower-case hex digits; text is hashed as UTF-8. */
export function sha256Hex(data: Uint8Array | string): string {
  return createHash("sha256").update(data).digest("hex");
}

/** The id of the node that owns a raw, 32-byte Ed25519 public key. */
export function nodeIdOf(publicKeyRaw: Uint8Array): NodeId {
  assert(publicKeyRaw.byteLength === 32, "a raw Ed25519 public key has 32 bytes");
  return sha256Hex(publicKeyRaw).slice(0, idHexDigits);
}

export function deploymentIdOf(namespace: string, name: string): DeploymentId {
  return sha256Hex(`${namespace}\0${name}`).slice(0, idHexDigits);
}

/** 64 hex digits over the canonical JSON of a replica template: equal templates, equal hash, whatever the order of their fields. */
export function templateHashOf(template: object): string {
  return sha256Hex(canonicalJson(template));
}

/**
 * JSON without white space, keys in ascending UTF-16 order at every level, members with the value
 * undefined left out (RFC 8785 in spirit). Plain data only.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(",")}]`;
  if (typeof value !== "object" || value === null) {
    assert(value !== undefined && typeof value !== "function", "canonical JSON is made of plain data");
    assert(typeof value !== "number" || Number.isFinite(value), "canonical JSON has finite numbers only");
    return JSON.stringify(value);
  }
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
  return `{${members.join(",")}}`;
}

/** The directory key of a namespace's index; the empty namespace's index names all namespaces. */
export function namespaceKeyOf(namespace: string): string {
  return sha256Hex(`namespace\0${namespace}`).slice(0, idHexDigits);
}
