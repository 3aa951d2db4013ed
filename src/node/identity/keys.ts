/** Ed25519 keys in the forms they are kept, sent and hashed. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
  type KeyObject,
} from "node:crypto";
import type { NodeId } from "../../model/ids.ts";
import { nodeIdOf } from "../../wire/digest.ts";

/** A fresh private key, PKCS#8 PEM. */
export function createKeyPem(): string {
  return generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** The raw 32 bytes of the public half. */
export function publicKeyOf(keyPem: string): Uint8Array {
  return rawOf(createPublicKey(createPrivateKey(keyPem)));
}

export function rawOf(publicKey: KeyObject): Uint8Array {
  return new Uint8Array(Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url"));
}

/** Undefined when the bytes are no Ed25519 public key. */
export function parsePublicKey(raw: Uint8Array): KeyObject | undefined {
  if (raw.byteLength !== 32) return undefined;
  try {
    return createPublicKey({
      key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(raw).toString("base64url") },
      format: "jwk",
    });
  } catch {
    return undefined;
  }
}

export function nodeIdOfKey(keyPem: string): NodeId {
  return nodeIdOf(publicKeyOf(keyPem));
}

/** Signs `purpose`, a NUL byte and `text`, so that no signature serves another purpose. */
export function signText(keyPem: string, purpose: string, text: string): Uint8Array {
  return new Uint8Array(sign(null, Buffer.from(`${purpose}\0${text}`), createPrivateKey(keyPem)));
}

export function isSignedText(
  publicKey: KeyObject,
  purpose: string,
  text: string,
  signature: Uint8Array,
): boolean {
  return verify(null, Buffer.from(`${purpose}\0${text}`), publicKey, signature);
}
