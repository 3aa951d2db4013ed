/**
 * Membership's datagrams. Nearly all of them, in an idle fleet, are a ping or its answer with no news aboard, and they are most of what an
 * idle node does; those have a short form of fixed places:
 *
 *     0xc1 · kind u8 · sequence u32 · sender 16 · target 16 (a ping's) · the sender's address, ASCII
 *
 * Everything else is MessagePack, in which no value begins with 0xc1.
 */
import type * as v from "valibot";
import { decodeAs, encode } from "./codec.ts";
import { membershipMessageSchema } from "./membership.ts";
import { WireError } from "./wire-error.ts";

type Message = v.InferOutput<typeof membershipMessageSchema>;

/** What the two forms need to know of a message; its kind decides which fields it has. */
export interface MembershipDatagram {
  readonly kind: Message["kind"];
  readonly from: { readonly id: string; readonly address: string };
  readonly updates: readonly unknown[];
  readonly sequence?: number;
  readonly target?: string;
}

const shortMark = 0xc1;
const kinds = ["ping", "ack", "nack"] as const;
const headBytes = 6;
const idBytes = 16;
const addressCharsMin = 3;
const addressCharsMax = 280;
const sequenceMax = 0xffff_ffff;
/** Printable, so that no address is written otherwise than it is read. */
const addressPattern = /^[\x21-\x7e]+$/;

/** Throws WireError as `encode` does. */
export function encodeMembership(message: MembershipDatagram): Uint8Array {
  return shortForm(message) ?? encode(message);
}

/** Throws WireError as `decodeAs` does. */
export function decodeMembership(bytes: Uint8Array): Message {
  return bytes[0] === shortMark ? readShort(bytes) : decodeAs(membershipMessageSchema, bytes);
}

function shortForm(message: MembershipDatagram): Uint8Array | undefined {
  const { kind, from, updates, sequence = Infinity, target = "" } = message;
  if (updates.length > 0 || (kind !== "ping" && kind !== "ack" && kind !== "nack")) return undefined;
  if (sequence > sequenceMax || !addressPattern.test(from.address)) return undefined;
  const addressAt = headBytes + (kind === "ping" ? 2 : 1) * idBytes;
  const bytes = Buffer.allocUnsafe(addressAt + from.address.length);
  bytes[0] = shortMark;
  bytes[1] = kinds.indexOf(kind);
  bytes.writeUInt32BE(sequence, 2);
  bytes.write(from.id, headBytes, idBytes, "hex");
  if (kind === "ping") bytes.write(target, headBytes + idBytes, idBytes, "hex");
  bytes.write(from.address, addressAt, "latin1");
  return bytes;
}

function readShort(bytes: Uint8Array): Message {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = kinds[buffer[1] ?? kinds.length];
  const addressAt = headBytes + (kind === "ping" ? 2 : 1) * idBytes;
  const chars = buffer.length - addressAt;
  if (kind === undefined || chars < addressCharsMin || chars > addressCharsMax)
    throw new WireError("malformed", "malformed message: no short datagram of a known kind");
  const address = buffer.toString("latin1", addressAt);
  if (!addressPattern.test(address))
    throw new WireError("malformed", "malformed message: an address that is not printable");
  const sequence = buffer.readUInt32BE(2);
  const from = { id: buffer.toString("hex", headBytes, headBytes + idBytes), address };
  if (kind !== "ping") return { kind, sequence, from, updates: [] };
  const target = buffer.toString("hex", headBytes + idBytes, addressAt);
  return { kind, sequence, target, from, updates: [] };
}
