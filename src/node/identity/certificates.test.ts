import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRootCertificate, issueNodeCertificate } from "./certificates.ts";
import { derInteger, derObjectId, derTime } from "./der.ts";
import { createKeyPem, nodeIdOfKey, publicKeyOf } from "./keys.ts";

const nowMs = Date.UTC(2026, 10, 21);

function fleet(fleetName = "muster") {
  const issuingKeyPem = createKeyPem();
  const rootPem = createRootCertificate({
    fleetName,
    issuingKeyPem,
    publicKey: publicKeyOf(issuingKeyPem),
    nowMs,
  });
  const keyPem = createKeyPem();
  const id = nodeIdOfKey(keyPem);
  const nodePem = issueNodeCertificate({ id, publicKey: publicKeyOf(keyPem), rootPem, issuingKeyPem, nowMs });
  return { rootPem, nodePem, id };
}

function openssl(...args: string[]): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync(["openssl", ...args]);
  return exitCode === 0 ? stdout.toString() : `failed: ${stderr.toString()}${stdout.toString()}`;
}

test("the runtime reads both and finds that they fit", () => {
  const { rootPem, nodePem, id } = fleet("f2-staging");
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

test.skipIf(Bun.which("openssl") === null)("openssl verifies them by the strict rules of RFC 5280", () => {
  const directory = mkdtempSync(join(tmpdir(), "muster-certificates-"));
  try {
    const [root, node, stranger] = ["root", "node", "stranger"].map((name) => join(directory, `${name}.pem`));
    const { rootPem, nodePem } = fleet();
    writeFileSync(root ?? "", rootPem);
    writeFileSync(node ?? "", nodePem);
    writeFileSync(stranger ?? "", fleet().nodePem);
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

test("numbers, object ids and times are in their shortest form", () => {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  expect(hex(derInteger(Buffer.from([0, 0, 0x7f])))).toBe("02017f");
  expect(hex(derInteger(Buffer.from([0x80])))).toBe("02020080");
  expect(hex(derInteger(Buffer.from([0])))).toBe("020100");
  expect(hex(derObjectId("1.2.840.113549"))).toBe("06062a864886f70d");
  expect(hex(derTime(Date.UTC(2049, 11, 31, 23, 59, 59)))).toBe(`170d${hex(Buffer.from("491231235959Z"))}`);
  expect(hex(derTime(Date.UTC(2050, 0, 1)))).toBe(`180f${hex(Buffer.from("20500101000000Z"))}`);
});
