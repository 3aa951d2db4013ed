/** Joining a fleet, both ends: the machine that asks, and any member, which can admit it. */
import { X509Certificate, type KeyObject } from "node:crypto";
import * as v from "valibot";
import type { Address, PeerAddress } from "../../ports/transport.ts";
import { nodeIdOf } from "../../wire/digest.ts";
import type { Certifier } from "./certificates.ts";
import { fingerprintOf, loadIdentity, saveIdentity, type Identity } from "./identity.ts";
import { IdentityError } from "./identity-error.ts";
import { parseInvite, refuseExpired, verifyInvite } from "./invite.ts";
import { createKeyPem, isSignedText, parsePublicKey, publicKeyOf, signText } from "./keys.ts";

/**
 * Sends `request` to a member at `address`, after it has proved to be of the fleet with this fingerprint, and resolves
 * with its answer. Rejects with an error whose `code` is `unreachable`, `wrong-fleet` or `refused`.
 */
export type JoinDial = (
  address: Address,
  options: { readonly fingerprint: string; readonly request: Uint8Array; readonly timeoutMs: number },
) => Promise<Uint8Array>;

/** Of one address; the next one is tried after it. */
const joinTimeoutMs = 5_000;
const purpose = "muster join 1";

const base64url = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,128}$/));
const requestSchema = v.object({
  token: v.string(),
  publicKey: base64url,
  /** Made with the key that is to be certified: nobody gets a certificate for a key that is not theirs. */
  proof: base64url,
});
const answerSchema = v.object({
  certificatePem: v.string(),
  rootPem: v.string(),
  issuingKeyPem: v.string(),
  datagramKey: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  members: v.array(
    v.object({ id: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)), addresses: v.array(v.string()) }),
  ),
});

export interface JoinOptions {
  readonly dataDirectory: string;
  /** Tried in order, then those in the invite; dead ones are skipped. */
  readonly addresses: readonly Address[];
  readonly token: string;
  readonly nowMs: number;
}

export interface Joined {
  readonly identity: Identity;
  /** Where members of the fleet can be reached, to begin with. */
  readonly members: readonly PeerAddress[];
}

/** Asks the first member that answers. Changes nothing on disk unless it succeeds. Rejects with IdentityError. */
export async function joinFleet(ports: { readonly dial: JoinDial }, options: JoinOptions): Promise<Joined> {
  if ((await loadIdentity(options.dataDirectory)) !== undefined)
    throw new IdentityError("exists", `${options.dataDirectory} already holds an identity`);
  const invite = parseInvite(options.token);
  refuseExpired(invite, options.nowMs);
  const keyPem = createKeyPem();
  const token = options.token.trim();
  const request = Buffer.from(
    JSON.stringify({
      token,
      publicKey: Buffer.from(publicKeyOf(keyPem)).toString("base64url"),
      proof: Buffer.from(signText(keyPem, purpose, token)).toString("base64url"),
    }),
  );
  const failures: { readonly code: string; readonly text: string }[] = [];
  const addresses = [...new Set([...options.addresses, ...invite.addresses])];
  for (const address of addresses) {
    let answer: Uint8Array;
    try {
      answer = await ports.dial(address, {
        fingerprint: invite.fingerprint,
        request,
        timeoutMs: joinTimeoutMs,
      });
    } catch (error) {
      failures.push({
        code: codeOf(error),
        text: `${address}: ${error instanceof Error ? error.message : String(error)}`,
      });
      continue;
    }
    return await settle(options.dataDirectory, { keyPem, answer, address, fingerprint: invite.fingerprint });
  }
  throw joinFailure(failures);
}

async function settle(
  dataDirectory: string,
  joined: {
    readonly keyPem: string;
    readonly answer: Uint8Array;
    readonly address: Address;
    readonly fingerprint: string;
  },
): Promise<Joined> {
  let answer: v.InferOutput<typeof answerSchema>;
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(joined.answer));
    answer = v.parse(answerSchema, parsed);
  } catch (cause) {
    throw new IdentityError("refused", `${joined.address} gave an answer that cannot be read`, { cause });
  }
  if (fingerprintOf(answer.rootPem) !== joined.fingerprint)
    throw new IdentityError("wrong-fleet", `${joined.address} gave the root of another fleet`);
  const identity = await saveIdentity(dataDirectory, {
    keyPem: joined.keyPem,
    certificatePem: answer.certificatePem,
    rootPem: answer.rootPem,
    issuingKeyPem: answer.issuingKeyPem,
    datagramKey: new Uint8Array(Buffer.from(answer.datagramKey, "hex")),
  });
  // The first member is the one that answered: it is certainly there at the address that was dialled.
  const [first, ...others] = answer.members;
  if (first === undefined) return { identity, members: [] };
  const addresses = [...new Set([joined.address, ...first.addresses])];
  return { identity, members: [{ id: first.id, addresses }, ...others] };
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unreachable";
}

/** A refusal tells most, then a stranger; only if nobody answered at all is it `unreachable`. */
function joinFailure(failures: readonly { readonly code: string; readonly text: string }[]): IdentityError {
  if (failures.length === 0)
    return new IdentityError("unreachable", "no address to join at: give one with --join host:port");
  const all = failures.map(({ text }) => text).join("; ");
  if (failures.some(({ code }) => code === "refused"))
    return new IdentityError("refused", `not admitted: ${all}`);
  if (failures.some(({ code }) => code === "wrong-fleet"))
    return new IdentityError("wrong-fleet", `no member of the fleet of this invite answered: ${all}`);
  return new IdentityError("unreachable", `no member of the fleet can be reached: ${all}`);
}

export interface JoinServicePorts {
  readonly wallMs: () => number;
  readonly certifier: Certifier;
  /** Members to hand to new ones: this node first. */
  readonly members: () => readonly PeerAddress[];
}

/** A member's side: checks the invite, certifies the key, hands over what every node holds. */
export class JoinService {
  readonly #ports: JoinServicePorts;
  readonly #identity: Identity;
  readonly #fleetKey: KeyObject;

  constructor(ports: JoinServicePorts, options: { readonly identity: Identity }) {
    this.#ports = ports;
    this.#identity = options.identity;
    this.#fleetKey = new X509Certificate(options.identity.rootPem).publicKey;
  }

  /** Rejects with IdentityError, whose message is meant for whoever asked. */
  async admit(request: Uint8Array): Promise<Uint8Array> {
    const { token, publicKey, proof } = parseRequest(request);
    const nowMs = this.#ports.wallMs();
    verifyInvite(token, { key: this.#fleetKey, fingerprint: this.#identity.fingerprint, nowMs });
    const raw = new Uint8Array(Buffer.from(publicKey, "base64url"));
    const key = parsePublicKey(raw);
    if (key === undefined || !isSignedText(key, purpose, token, Buffer.from(proof, "base64url")))
      throw new IdentityError("refused", "the request is not signed with the key it names");
    const { rootPem, issuingKeyPem, datagramKey } = this.#identity;
    const answer: v.InferOutput<typeof answerSchema> = {
      certificatePem: await this.#ports.certifier.node({
        id: nodeIdOf(raw),
        publicKey: raw,
        rootPem,
        issuingKeyPem,
        nowMs,
      }),
      rootPem,
      issuingKeyPem,
      datagramKey: Buffer.from(datagramKey).toString("hex"),
      members: this.#ports.members().map(({ id, addresses }) => ({ id, addresses: [...addresses] })),
    };
    return new TextEncoder().encode(JSON.stringify(answer));
  }
}

function parseRequest(request: Uint8Array): v.InferOutput<typeof requestSchema> {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(request));
    return v.parse(requestSchema, parsed);
  } catch (cause) {
    throw new IdentityError("refused", "the request to join cannot be read", { cause });
  }
}
