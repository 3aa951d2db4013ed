/**
 * Invites: `muster1.<body>.<signature>`, both base64url. The body is JSON: addresses to ask, the fleet's fingerprint, when it ends and a
 * random id; the signature is the fleet's. Whoever holds the token may join until it ends: it is a secret.
 */
import { randomBytes, type KeyObject } from "node:crypto";
import * as v from "valibot";
import type { Address } from "../../ports/transport.ts";
import type { Identity } from "./identity.ts";
import { IdentityError } from "./identity-error.ts";
import { isSignedText, signText } from "./keys.ts";

export interface Invite {
  readonly addresses: readonly Address[];
  /** SHA-256 of the fleet's root certificate, 64 hex digits. */
  readonly fingerprint: string;
  /** Wall clock, milliseconds since 1970. */
  readonly expiresAtMs: number;
  readonly id: string;
}

const prefix = "muster1";
const purpose = "muster invite 1";
const tokenLengthMax = 4_096;
const addressesMax = 16;
export const inviteTtlMsMax = 30 * 24 * 60 * 60 * 1_000;

const inviteSchema = v.object({
  addresses: v.pipe(v.array(v.pipe(v.string(), v.maxLength(128))), v.maxLength(addressesMax)),
  fingerprint: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  expiresAtMs: v.pipe(v.number(), v.safeInteger()),
  id: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
});

/** `ttlMs` is cut to `inviteTtlMsMax`. */
export function createInvite(
  identity: Identity,
  options: { readonly ttlMs: number; readonly addresses: readonly Address[]; readonly nowMs: number },
): { readonly token: string; readonly expiresAtMs: number } {
  const invite: Invite = {
    addresses: options.addresses.slice(0, addressesMax),
    fingerprint: identity.fingerprint,
    expiresAtMs: Math.round(options.nowMs + Math.min(options.ttlMs, inviteTtlMsMax)),
    id: randomBytes(16).toString("hex"),
  };
  const body = Buffer.from(JSON.stringify(invite)).toString("base64url");
  const signature = Buffer.from(signText(identity.issuingKeyPem, purpose, body)).toString("base64url");
  return { token: `${prefix}.${body}.${signature}`, expiresAtMs: invite.expiresAtMs };
}

/** What the token says, unverified: only a member knows the key. Throws IdentityError `bad-token`. */
export function parseInvite(token: string): Invite {
  const [head, body, signature, ...rest] = token.trim().split(".");
  if (
    token.length > tokenLengthMax ||
    head !== prefix ||
    body === undefined ||
    signature === undefined ||
    rest.length > 0
  )
    throw new IdentityError(
      "bad-token",
      `this is not an invite: one begins with ${prefix}. and has three parts`,
    );
  try {
    const parsed: unknown = JSON.parse(Buffer.from(body, "base64url").toString("utf8"));
    return v.parse(inviteSchema, parsed);
  } catch (cause) {
    throw new IdentityError("bad-token", "the invite is damaged; copy it as a whole", { cause });
  }
}

/** Throws IdentityError `bad-token`, `wrong-fleet` or `expired` unless the fleet signed the token and its time is not over. */
export function verifyInvite(
  token: string,
  fleet: { readonly key: KeyObject; readonly fingerprint: string; readonly nowMs: number },
): Invite {
  const invite = parseInvite(token);
  const [, body = "", signature = ""] = token.trim().split(".");
  if (invite.fingerprint !== fleet.fingerprint)
    throw new IdentityError("wrong-fleet", "the invite is for another fleet");
  if (!isSignedText(fleet.key, purpose, body, Buffer.from(signature, "base64url")))
    throw new IdentityError("bad-token", "the invite's signature is not this fleet's");
  refuseExpired(invite, fleet.nowMs);
  return invite;
}

/** Throws IdentityError `expired`. */
export function refuseExpired(invite: Invite, nowMs: number): void {
  if (nowMs > invite.expiresAtMs)
    throw new IdentityError(
      "expired",
      `the invite ended at ${new Date(invite.expiresAtMs).toISOString()}; ask for a new one with muster invite`,
    );
}
