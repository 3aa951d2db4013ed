/**
 * Who is at the other end of a TLS connection. The runtime's own verdict (`authorized`) must be good and, on
 * top of it, the certificate is checked here against the fleet's root, so that no one library decides alone.
 */
import { X509Certificate, createPublicKey, type KeyObject } from "node:crypto";
import type { NodeId } from "../../model/ids.ts";
import { nodeIdOf } from "../../wire/digest.ts";

/** The one name all node certificates carry; identity is the key, not the name. */
export const certificateName = "muster";

/** What a node proves itself with, and what it checks others against. */
export interface TlsIdentity {
  readonly id: NodeId;
  /** Ed25519, PKCS#8 PEM. */
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly rootPem: string;
  /** 32 bytes, shared by the fleet. */
  readonly datagramKey: Uint8Array;
}

/** A fleet's root, ready to check certificates against. */
export class FleetRoot {
  readonly #certificate: X509Certificate;
  readonly #key: KeyObject;

  constructor(rootPem: string) {
    this.#certificate = new X509Certificate(rootPem);
    this.#key = this.#certificate.publicKey;
  }

  /** The node that `certificate` names, or why it is not one of this fleet. */
  memberOf(
    certificate: X509Certificate,
    nowMs: number,
  ): { readonly id: NodeId } | { readonly fault: string } {
    if (certificate.publicKey.asymmetricKeyType !== "ed25519") return { fault: "its key is not Ed25519" };
    if (certificate.ca) return { fault: "it presents an authority's certificate" };
    if (!certificate.checkIssued(this.#certificate) || !certificate.verify(this.#key))
      return { fault: "its certificate is from another fleet" };
    if (nowMs < Date.parse(certificate.validFrom) || nowMs > Date.parse(certificate.validTo))
      return { fault: "its certificate is not valid at this time" };
    return { id: nodeIdOf(rawPublicKey(certificate.publicKey)) };
  }
}

/** The 32 bytes of an Ed25519 key, public or private. */
export function rawPublicKey(key: KeyObject): Uint8Array {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  const { x } = publicKey.export({ format: "jwk" });
  return new Uint8Array(Buffer.from(x ?? "", "base64url"));
}

/** Shared by listening and dialling: both ends show a certificate and decide for themselves. */
export function tlsOptions(identity: TlsIdentity): Bun.TLSOptions & { readonly minVersion: number } {
  return {
    key: identity.keyPem,
    cert: identity.certificatePem,
    ca: identity.rootPem,
    requestCert: true,
    // Guests without a certificate may ask to join, so the verdict is read from the socket, never enforced blindly.
    rejectUnauthorized: false,
    minVersion: 0x0304,
  };
}
