/**
 * Who this node is and which fleet it is of, as kept in `identity/` of the data directory: a directory only the
 * owner can enter, written as a whole or not at all.
 */
import { X509Certificate, createHash, createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { NodeId } from "../../model/ids.ts";
import type { Certifier } from "./certificates.ts";
import { IdentityError } from "./identity-error.ts";
import { createKeyPem, nodeIdOfKey, publicKeyOf, rawOf } from "./keys.ts";

export interface Identity {
  readonly id: NodeId;
  readonly fleetName: string;
  /** SHA-256 over the root certificate (DER), 64 hex digits: the fleet's name for machines, and where its addresses come from. */
  readonly fingerprint: string;
  /** Ed25519, PKCS#8 PEM. */
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly rootPem: string;
  /** The fleet's issuing key: every node can invite and admit (docs/decisions/0011-every-node-holds-the-issuing-key.md). */
  readonly issuingKeyPem: string;
  /** 32 bytes. */
  readonly datagramKey: Uint8Array;
}

/** What makes an identity; the rest follows from it. */
export type IdentityFiles = Pick<
  Identity,
  "keyPem" | "certificatePem" | "rootPem" | "issuingKeyPem" | "datagramKey"
>;

const directoryName = "identity";
const fileNames = {
  key: "node-key.pem",
  certificate: "node-certificate.pem",
  root: "fleet-root.pem",
  issuingKey: "fleet-key.pem",
  datagramKey: "datagram-key",
};
const fleetNamePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Makes a new fleet with this node as its first member. Rejects with IdentityError `exists`. */
export async function foundFleet(
  dataDirectory: string,
  options: { readonly name: string; readonly nowMs: number; readonly certifier: Certifier },
): Promise<Identity> {
  if (!fleetNamePattern.test(options.name))
    throw new IdentityError(
      "corrupt",
      `"${options.name}" is no fleet name: lower-case letters, digits and dashes, 63 at most`,
    );
  await refuseExisting(dataDirectory);
  const issuingKeyPem = createKeyPem();
  const { nowMs } = options;
  const rootPem = await options.certifier.root({
    fleetName: options.name,
    issuingKeyPem,
    publicKey: publicKeyOf(issuingKeyPem),
    nowMs,
  });
  const keyPem = createKeyPem();
  const certificatePem = await options.certifier.node({
    id: nodeIdOfKey(keyPem),
    publicKey: publicKeyOf(keyPem),
    rootPem,
    issuingKeyPem,
    nowMs,
  });
  return saveIdentity(dataDirectory, {
    keyPem,
    certificatePem,
    rootPem,
    issuingKeyPem,
    datagramKey: new Uint8Array(randomBytes(32)),
  });
}

/** Undefined when the directory holds none. Rejects with IdentityError `corrupt` naming the file at fault. */
export async function loadIdentity(dataDirectory: string): Promise<Identity | undefined> {
  const directory = join(dataDirectory, directoryName);
  // Six small files: read at once they take less than the thread that would read them takes to begin.
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  if ((found.mode & 0o077) !== 0)
    throw new IdentityError(
      "corrupt",
      `others may enter ${directory}; run chmod 700 on it after making sure nobody did`,
    );
  const read = (name: string): string => {
    try {
      return readFileSync(join(directory, name), "utf8");
    } catch (cause) {
      throw new IdentityError("corrupt", `cannot read ${join(directory, name)}`, { cause });
    }
  };
  return checkIdentity({
    keyPem: read(fileNames.key),
    certificatePem: read(fileNames.certificate),
    rootPem: read(fileNames.root),
    issuingKeyPem: read(fileNames.issuingKey),
    datagramKey: new Uint8Array(Buffer.from(read(fileNames.datagramKey).trim(), "hex")),
  });
}

/** Checks, then writes all or nothing. Rejects with IdentityError `exists` or `corrupt`. */
export async function saveIdentity(dataDirectory: string, files: IdentityFiles): Promise<Identity> {
  const identity = checkIdentity(files);
  await mkdir(dataDirectory, { recursive: true });
  await refuseExisting(dataDirectory);
  const staging = join(dataDirectory, `${directoryName}.${randomBytes(6).toString("hex")}`);
  await mkdir(staging, { mode: 0o700 });
  try {
    await writeDurably(join(staging, fileNames.key), files.keyPem);
    await writeDurably(join(staging, fileNames.certificate), files.certificatePem);
    await writeDurably(join(staging, fileNames.root), files.rootPem);
    await writeDurably(join(staging, fileNames.issuingKey), files.issuingKeyPem);
    await writeDurably(
      join(staging, fileNames.datagramKey),
      `${Buffer.from(files.datagramKey).toString("hex")}\n`,
    );
    await syncDirectory(staging);
    // Fails if somebody else was quicker: a directory with files in it cannot be replaced.
    await rename(staging, join(dataDirectory, directoryName));
  } catch (cause) {
    await rm(staging, { recursive: true, force: true });
    throw cause;
  }
  await syncDirectory(dataDirectory);
  return identity;
}

/** Everything must fit together: key to certificate, certificate to root, issuing key to root. */
function checkIdentity(files: IdentityFiles): Identity {
  const fail = (what: string, cause?: unknown): never => {
    throw new IdentityError("corrupt", what, { cause });
  };
  let root: X509Certificate;
  let certificate: X509Certificate;
  let publicKeys: { readonly node: string; readonly issuing: string };
  try {
    root = new X509Certificate(files.rootPem);
    certificate = new X509Certificate(files.certificatePem);
    publicKeys = { node: hexOfKey(files.keyPem), issuing: hexOfKey(files.issuingKeyPem) };
  } catch (cause) {
    return fail("a key or certificate of this node's identity is not readable", cause);
  }
  if (hexOf(rawOf(certificate.publicKey)) !== publicKeys.node)
    fail("the node's certificate is not for the node's key");
  if (hexOf(rawOf(root.publicKey)) !== publicKeys.issuing)
    fail("the fleet's key is not the root certificate's");
  if (!certificate.checkIssued(root) || !certificate.verify(root.publicKey))
    fail("the node's certificate is of another fleet");
  if (files.datagramKey.byteLength !== 32) fail("the datagram key is not 32 bytes");
  return {
    ...files,
    id: nodeIdOfKey(files.keyPem),
    fleetName: root.subject.replace(/^CN=/, ""),
    fingerprint: fingerprintOf(files.rootPem),
  };
}

/** SHA-256 over the DER form, 64 hex digits. */
export function fingerprintOf(rootPem: string): string {
  return createHash("sha256").update(new X509Certificate(rootPem).raw).digest("hex");
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function hexOfKey(keyPem: string): string {
  return hexOf(rawOf(createPublicKey(createPrivateKey(keyPem))));
}

async function refuseExisting(dataDirectory: string): Promise<void> {
  const directory = join(dataDirectory, directoryName);
  const found = await stat(directory).catch(() => undefined);
  if (found !== undefined) throw new IdentityError("exists", `${directory} already holds an identity`);
}

async function writeDurably(path: string, content: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
