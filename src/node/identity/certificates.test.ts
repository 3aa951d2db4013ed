import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { childCertifier } from "./certify.ts";
import { createRootCertificate, issueNodeCertificate } from "./certificates.ts";
import { createKeyPem, nodeIdOfKey, publicKeyOf } from "./keys.ts";

const nowMs = Date.UTC(2026, 10, 21);

async function fleet(fleetName = "muster"): Promise<{ rootPem: string; nodePem: string; id: string }> {
  const issuingKeyPem = createKeyPem();
  const rootPem = await createRootCertificate({
    fleetName,
    issuingKeyPem,
    publicKey: publicKeyOf(issuingKeyPem),
    nowMs,
  });
  const keyPem = createKeyPem();
  const id = nodeIdOfKey(keyPem);
  const nodePem = await issueNodeCertificate({
    id,
    publicKey: publicKeyOf(keyPem),
    rootPem,
    issuingKeyPem,
    nowMs,
  });
  return { rootPem, nodePem, id };
}

function openssl(...args: string[]): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync(["openssl", ...args]);
  return exitCode === 0 ? stdout.toString() : `failed: ${stderr.toString()}${stdout.toString()}`;
}

test("the runtime reads both and finds that they fit", async () => {
  const { rootPem, nodePem, id } = await fleet("f2-staging");
  const root = new X509Certificate(rootPem);
  const node = new X509Certificate(nodePem);
  expect(root.subject).toBe("CN=f2-staging");
  expect(root.ca).toBe(true);
  expect(root.verify(root.publicKey)).toBe(true);
  expect(node.subject).toBe(`CN=${id}`);
  expect(node.issuer).toBe("CN=f2-staging");
  expect(node.ca).toBe(false);
  expect(node.subjectAltName).toBe("DNS:muster");
  expect(node.checkIssued(root)).toBe(true);
  expect(node.verify(root.publicKey)).toBe(true);
  expect(Date.parse(node.validFrom)).toBeLessThan(nowMs);
  // Past 2049 the years take four digits.
  expect(new Date(root.validTo).getUTCFullYear()).toBe(2056);
});

const hasOpenssl = Bun.which("openssl") !== null;
if (!hasOpenssl) console.warn("skipped openssl's view of certificates: it is not installed");

test.skipIf(!hasOpenssl)("openssl verifies them by the strict rules of RFC 5280", async () => {
  const directory = mkdtempSync(join(tmpdir(), "muster-certificates-"));
  try {
    const [root, node, stranger] = ["root", "node", "stranger"].map((name) => join(directory, `${name}.pem`));
    const { rootPem, nodePem } = await fleet();
    writeFileSync(root ?? "", rootPem);
    writeFileSync(node ?? "", nodePem);
    writeFileSync(stranger ?? "", (await fleet()).nodePem);
    const verify = (path: string | undefined, purpose: string): string =>
      openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", root ?? "", path ?? "");
    expect(verify(node, "sslserver")).toBe(`${node}: OK\n`);
    expect(verify(node, "sslclient")).toBe(`${node}: OK\n`);
    expect(verify(stranger, "sslserver")).toStartWith("failed:");
    const text = openssl("x509", "-in", node ?? "", "-noout", "-text");
    expect(text).toContain("Signature Algorithm: ED25519");
    expect(text).toMatch(/X509v3 Basic Constraints: critical\s+CA:FALSE/);
    expect(text).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
    expect(text).toContain("TLS Web Server Authentication, TLS Web Client Authentication");
    const authority = openssl("x509", "-in", root ?? "", "-noout", "-text");
    expect(authority).toMatch(/X509v3 Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/);
    expect(authority).toMatch(/X509v3 Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("a child makes the same kinds of certificate, and says why when it cannot", async () => {
  const certifier = childCertifier([
    process.execPath,
    join(import.meta.dir, "../../main.ts"),
    "internal-certify",
  ]);
  const issuingKeyPem = createKeyPem();
  const rootPem = await certifier.root({
    fleetName: "muster",
    issuingKeyPem,
    publicKey: publicKeyOf(issuingKeyPem),
    nowMs,
  });
  const keyPem = createKeyPem();
  const id = nodeIdOfKey(keyPem);
  const nodePem = await certifier.node({ id, publicKey: publicKeyOf(keyPem), rootPem, issuingKeyPem, nowMs });
  expect(new X509Certificate(nodePem).checkIssued(new X509Certificate(rootPem))).toBe(true);
  const broken = certifier.node({
    id,
    publicKey: publicKeyOf(keyPem),
    rootPem: "none",
    issuingKeyPem,
    nowMs,
  });
  expect(broken).rejects.toThrow("no certificate could be made");
  await broken.catch(() => undefined);
});
