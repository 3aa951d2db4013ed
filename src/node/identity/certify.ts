/**
 * Makes certificates in a short-lived child: the X.509 library weighs 10 MB that an agent would keep
 * for good, and founding a fleet or admitting a node is rare. The issuing key travels by the child's
 * standard input, never on its command line.
 */
import * as v from "valibot";
import { IdentityError } from "./identity-error.ts";
import { libraryCertifier, type Certifier } from "./certificates.ts";

const pem = v.pipe(v.string(), v.maxLength(65_536));
const hex = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const orderSchema = v.variant("kind", [
  v.object({
    kind: v.literal("root"),
    fleetName: v.string(),
    issuingKeyPem: pem,
    publicKey: hex,
    nowMs: v.number(),
  }),
  v.object({
    kind: v.literal("node"),
    id: v.string(),
    publicKey: hex,
    rootPem: pem,
    issuingKeyPem: pem,
    nowMs: v.number(),
  }),
]);

const patienceMs = 10_000;

/** The child's side: an order on standard input, the certificate on standard output. */
export async function certifyMain(): Promise<number> {
  const order = v.parse(orderSchema, JSON.parse(await Bun.stdin.text()));
  const publicKey = new Uint8Array(Buffer.from(order.publicKey, "hex"));
  const certificate =
    order.kind === "root"
      ? await libraryCertifier.root({ ...order, publicKey })
      : await libraryCertifier.node({ ...order, publicKey });
  await Bun.write(Bun.stdout, certificate);
  return 0;
}

/** `command` is the words that lead to `certifyMain`. */
export function childCertifier(command: readonly string[]): Certifier {
  const order = async (request: {
    readonly kind: "root" | "node";
    readonly publicKey: Uint8Array;
  }): Promise<string> => {
    const text = JSON.stringify({ ...request, publicKey: Buffer.from(request.publicKey).toString("hex") });
    const child = Bun.spawn([...command], {
      stdin: new Blob([text]),
      stdout: "pipe",
      stderr: "pipe",
      timeout: patienceMs,
      // Nothing of the agent's, above all not its engine's settings: a child's work is worth compiling.
      env: {},
    });
    const [certificate, complaint, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (code === 0) return certificate;
    throw new IdentityError(
      "refused",
      `no certificate could be made: ${complaint.trim() || `exit code ${code}`}`,
    );
  };
  return {
    root: async (options) => order({ kind: "root" as const, ...options }),
    node: async (options) => order({ kind: "node" as const, ...options }),
  };
}
