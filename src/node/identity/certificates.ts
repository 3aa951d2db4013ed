/**
 * Makes certificates. The X.509 library is loaded only here and only when one is made: founding a fleet and
 * admitting a node are rare, starting is not.
 */
import { randomBytes } from "node:crypto";
import type { NodeId } from "../../model/ids.ts";

const yearMs = 365 * 24 * 60 * 60 * 1_000;
const rootYears = 30;
const nodeYears = 10;
/** Clocks of machines that have just been installed are often behind. */
const backdateMs = 24 * 60 * 60 * 1_000;
/** Every node's certificate carries it; connections ask for it by this name, identity is the key. */
const nodeName = "muster";
const algorithm = { name: "Ed25519" };

async function x509Library() {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  x509.cryptoProvider.set(crypto);
  return x509;
}

function pkcs8Of(keyPem: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(keyPem.replace(/-----[^-]+-----|\s/g, ""), "base64"));
}

function importPrivate(keyPem: string): Promise<CryptoKey> {
  return crypto.subtle.importKey("pkcs8", pkcs8Of(keyPem), algorithm, false, ["sign"]);
}

function importPublic(raw: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", new Uint8Array(raw), algorithm, true, ["verify"]);
}

function serial(): string {
  return `01${randomBytes(15).toString("hex")}`;
}

/** A self-signed root named after the fleet, PEM. */
export async function createRootCertificate(options: {
  readonly fleetName: string;
  readonly issuingKeyPem: string;
  readonly publicKey: Uint8Array;
  readonly nowMs: number;
}): Promise<string> {
  const x509 = await x509Library();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${options.fleetName}`,
    keys: {
      privateKey: await importPrivate(options.issuingKeyPem),
      publicKey: await importPublic(options.publicKey),
    },
    signingAlgorithm: algorithm,
    notBefore: new Date(options.nowMs - backdateMs),
    notAfter: new Date(options.nowMs + rootYears * yearMs),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(await importPublic(options.publicKey)),
    ],
  });
  return `${certificate.toString("pem").trim()}\n`;
}

/** A node's certificate, PEM: good for both ends of a connection, for nothing else. */
export async function issueNodeCertificate(options: {
  readonly id: NodeId;
  readonly publicKey: Uint8Array;
  readonly rootPem: string;
  readonly issuingKeyPem: string;
  readonly nowMs: number;
}): Promise<string> {
  const x509 = await x509Library();
  const root = new x509.X509Certificate(options.rootPem);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${options.id}`,
    issuer: root.subject,
    publicKey: await importPublic(options.publicKey),
    signingKey: await importPrivate(options.issuingKeyPem),
    signingAlgorithm: algorithm,
    notBefore: new Date(options.nowMs - backdateMs),
    notAfter: new Date(options.nowMs + nodeYears * yearMs),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: nodeName }]),
      await x509.SubjectKeyIdentifierExtension.create(await importPublic(options.publicKey)),
      await x509.AuthorityKeyIdentifierExtension.create(root.publicKey),
    ],
  });
  return `${certificate.toString("pem").trim()}\n`;
}

/** Makes both kinds; rejects when it cannot. */
export interface Certifier {
  root(options: Parameters<typeof createRootCertificate>[0]): Promise<string>;
  node(options: Parameters<typeof issueNodeCertificate>[0]): Promise<string>;
}

/** In this very process, which keeps the library's memory from then on. */
export const libraryCertifier: Certifier = { root: createRootCertificate, node: issueNodeCertificate };
