/**
 * Makes certificates of the two shapes there are: a fleet's root, and a node's (RFC 5280 profile, Ed25519 by
 * RFC 8410). They are written here rather than by a library because an agent that admits a node would otherwise
 * carry that library's memory for good (docs/decisions/0012-certificates-written-here.md). Nothing here reads
 * certificates: that is left to the runtime.
 */
import { createHash, createPrivateKey, randomBytes, sign, X509Certificate } from "node:crypto";
import type { NodeId } from "../../model/ids.ts";
import {
  derBitString,
  derInteger,
  derObjectId,
  derOctetString,
  derSequence,
  derSetOf,
  derTagged,
  derTime,
  derTrue,
  derUtf8,
} from "./der.ts";
import { rawOf } from "./keys.ts";

const yearMs = 365 * 24 * 60 * 60 * 1_000;
const rootYears = 30;
const nodeYears = 10;
/** Clocks of machines that have just been installed are often behind. */
const backdateMs = 24 * 60 * 60 * 1_000;
/** Every node's certificate carries it; connections ask for it by this name, identity is the key. */
const nodeName = "muster";

const objectIds = {
  ed25519: "1.3.101.112",
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
};

const signatureAlgorithm = derSequence(derObjectId(objectIds.ed25519));

interface CertificateFields {
  readonly issuerName: string;
  readonly issuingKeyPem: string;
  readonly subjectName: string;
  /** The subject's, raw. */
  readonly publicKey: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Uint8Array[];
}

/** A self-signed root named after the fleet, PEM. */
export function createRootCertificate(options: {
  readonly fleetName: string;
  readonly issuingKeyPem: string;
  readonly publicKey: Uint8Array;
  readonly nowMs: number;
}): string {
  const { fleetName, issuingKeyPem, publicKey, nowMs } = options;
  return signed({
    issuerName: fleetName,
    issuingKeyPem,
    subjectName: fleetName,
    publicKey,
    notBeforeMs: nowMs - backdateMs,
    notAfterMs: nowMs + rootYears * yearMs,
    extensions: [
      // An authority, of nodes only: no authorities below it.
      critical(objectIds.basicConstraints, derSequence(derTrue(), derInteger(Buffer.from([0])))),
      // keyCertSign and cRLSign are bits 5 and 6.
      critical(objectIds.keyUsage, derBitString(Buffer.from([0b0000_0110]), 1)),
      plain(objectIds.subjectKeyIdentifier, derOctetString(keyIdentifierOf(publicKey))),
    ],
  });
}

/** A node's certificate, PEM: good for both ends of a connection, for nothing else. */
export function issueNodeCertificate(options: {
  readonly id: NodeId;
  readonly publicKey: Uint8Array;
  readonly rootPem: string;
  readonly issuingKeyPem: string;
  readonly nowMs: number;
}): string {
  const { id, publicKey, rootPem, issuingKeyPem, nowMs } = options;
  const root = new X509Certificate(rootPem);
  const rootKeyIdentifier = keyIdentifierOf(rawOf(root.publicKey));
  return signed({
    issuerName: root.subject.replace(/^CN=/, ""),
    issuingKeyPem,
    subjectName: id,
    publicKey,
    notBeforeMs: nowMs - backdateMs,
    notAfterMs: nowMs + nodeYears * yearMs,
    extensions: [
      critical(objectIds.basicConstraints, derSequence()),
      // digitalSignature is bit 0.
      critical(objectIds.keyUsage, derBitString(Buffer.from([0b1000_0000]), 7)),
      plain(
        objectIds.extendedKeyUsage,
        derSequence(derObjectId(objectIds.serverAuth), derObjectId(objectIds.clientAuth)),
      ),
      // A dNSName is [2], an authority's keyIdentifier is [0].
      plain(objectIds.subjectAltName, derSequence(derTagged(2, "primitive", Buffer.from(nodeName)))),
      plain(objectIds.subjectKeyIdentifier, derOctetString(keyIdentifierOf(publicKey))),
      plain(objectIds.authorityKeyIdentifier, derSequence(derTagged(0, "primitive", rootKeyIdentifier))),
    ],
  });
}

/** RFC 5280 4.1, RFC 8410 3 to 5. */
function signed(fields: CertificateFields): string {
  const toBeSigned = derSequence(
    // Version 3 counts from 0.
    derTagged(0, "constructed", derInteger(Buffer.from([2]))),
    // 1 at the front: as long as any other, and never negative.
    derInteger(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    signatureAlgorithm,
    nameOf(fields.issuerName),
    derSequence(derTime(fields.notBeforeMs), derTime(fields.notAfterMs)),
    nameOf(fields.subjectName),
    derSequence(signatureAlgorithm, derBitString(fields.publicKey)),
    derTagged(3, "constructed", derSequence(...fields.extensions)),
  );
  const signature = sign(null, toBeSigned, createPrivateKey(fields.issuingKeyPem));
  return pemOf(derSequence(toBeSigned, signatureAlgorithm, derBitString(signature)));
}

function nameOf(commonName: string): Uint8Array {
  return derSequence(derSetOf(derSequence(derObjectId(objectIds.commonName), derUtf8(commonName))));
}

function critical(id: string, value: Uint8Array): Uint8Array {
  return derSequence(derObjectId(id), derTrue(), derOctetString(value));
}

function plain(id: string, value: Uint8Array): Uint8Array {
  return derSequence(derObjectId(id), derOctetString(value));
}

/** RFC 7093 2, method 1. */
function keyIdentifierOf(publicKey: Uint8Array): Uint8Array {
  return createHash("sha256").update(publicKey).digest().subarray(0, 20);
}

function pemOf(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
