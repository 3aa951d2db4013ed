/**
 * Addresses are computed, never allocated (architecture, section 10): a fleet has a /32 inside
 * fd00::/8, a deployment the /96 made of that prefix and the first 64 bits of its id, a replica the
 * address with its slot number. So an address is known before the replica runs and stays the same
 * wherever it runs.
 */
import { assert } from "./assert.ts";
import { idPattern, type DeploymentId } from "./ids.ts";

/** The fleet's /32 as eight hex digits that begin with fd, from the first bytes of its fingerprint (hex). */
export function fleetPrefix(fingerprint: string): string {
  assert(/^[0-9a-f]{6,}$/.test(fingerprint), "a fleet fingerprint is at least six hex digits");
  return `fd${fingerprint.slice(0, 6)}`;
}

/** The IPv6 address of one replica, in full eight-group form without zero compression. */
export function replicaAddress(prefix: string, deployment: DeploymentId, replica: number): string {
  assert(/^fd[0-9a-f]{6}$/.test(prefix), "a fleet prefix is eight hex digits inside fd00::/8");
  assert(idPattern.test(deployment), "a deployment id is 32 hex digits");
  assert(
    Number.isInteger(replica) && replica >= 0 && replica < 0xffff_ffff,
    "a replica is a 32-bit slot number",
  );
  // Slot 0 is address 1: the all-zero host part is the subnet-router anycast address (RFC 4291, 2.6.1).
  const digits = prefix + deployment.slice(0, 16) + (replica + 1).toString(16).padStart(8, "0");
  return (digits.match(/.{4}/g) ?? []).map((group) => group.replace(/^0{1,3}/, "")).join(":");
}
