/**
 * Datagrams, sealed: `version u8 · key u8 · sender 16 · nonce 12 · AES-256-GCM(kind u8 · boot u48 · sequence u48 · payload)`.
 * What stands before the nonce is authenticated too.
 *
 * Every sender uses a key of its own, derived from the fleet's, so that the bound on random nonces (2^32 messages per key, NIST SP 800-38D 8.3)
 * holds per node and not for the whole fleet. `boot` is the sender's wall clock when it started, the sequence counts from there.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { idPattern, type NodeId } from "../../model/ids.ts";
import { assert } from "../../model/assert.ts";

const version = 1;
const headBytes = 18;
const nonceBytes = 12;
const tagBytes = 16;
const innerBytes = 13;
export const sealBytes = headBytes + nonceBytes + innerBytes + tagBytes;

/** Behind the highest sequence seen, this many are still told apart. */
const windowSize = 64;
/** After so long without a word from a sender, a smaller boot than before is believed: clocks get set back. */
const bootForgetMs = 10_000;
/** Senders remembered; past it the one heard longest ago is forgotten. */
const sendersMax = 16_384;

export type DatagramKind = "payload" | "knock" | "answer";
const kinds: readonly DatagramKind[] = ["payload", "knock", "answer"];

export interface OpenedDatagram {
  readonly sender: NodeId;
  readonly kind: DatagramKind;
  readonly payload: Uint8Array;
}

interface Sender {
  readonly key: Uint8Array;
  boot: number;
  highest: number;
  /** Bit n: the sequence `highest - n` was seen. */
  seen: bigint;
  heardAtMs: number;
}

function keyOf(fleetKey: Uint8Array, sender: NodeId): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", fleetKey, "", `muster datagram 1 ${sender}`, 32));
}

export class DatagramSealer {
  readonly #head: Uint8Array;
  readonly #key: Uint8Array;
  readonly #boot: number;
  #sequence = 0;

  constructor(options: { readonly sender: NodeId; readonly fleetKey: Uint8Array; readonly bootMs: number }) {
    assert(idPattern.test(options.sender), "a node id is 32 hex digits");
    this.#head = Buffer.concat([Buffer.from([version, 0]), Buffer.from(options.sender, "hex")]);
    this.#key = keyOf(options.fleetKey, options.sender);
    this.#boot = options.bootMs;
  }

  seal(kind: DatagramKind, payload: Uint8Array): Uint8Array {
    const inner = Buffer.allocUnsafe(innerBytes);
    inner.writeUInt8(kinds.indexOf(kind), 0);
    inner.writeUIntBE(this.#boot, 1, 6);
    inner.writeUIntBE(this.#sequence, 7, 6);
    this.#sequence += 1;
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce);
    cipher.setAAD(this.#head);
    return Buffer.concat([
      this.#head,
      nonce,
      cipher.update(inner),
      cipher.update(payload),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
  }
}

export class DatagramOpener {
  readonly #fleetKey: Uint8Array;
  /** In the order last heard, so that the first is the one to forget. */
  readonly #senders = new Map<NodeId, Sender>();

  constructor(options: { readonly fleetKey: Uint8Array }) {
    this.#fleetKey = options.fleetKey;
  }

  /** Undefined for what is forged, damaged, of another fleet or a replay. */
  open(datagram: Uint8Array, nowMs: number): OpenedDatagram | undefined {
    if (datagram.byteLength < sealBytes || datagram[0] !== version || datagram[1] !== 0) return undefined;
    const bytes = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength);
    const id = bytes.toString("hex", 2, headBytes);
    const known = this.#senders.get(id);
    const key = known?.key ?? keyOf(this.#fleetKey, id);
    const inner = decrypt(key, bytes);
    if (inner === undefined) return undefined;
    const kind = kinds[inner.readUInt8(0)];
    const boot = inner.readUIntBE(1, 6);
    const sequence = inner.readUIntBE(7, 6);
    const sender = known ?? { key, boot, highest: -1, seen: 0n, heardAtMs: nowMs };
    if (kind === undefined || !accept(sender, boot, sequence, nowMs)) return undefined;
    this.#senders.delete(id);
    this.#senders.set(id, sender);
    if (this.#senders.size > sendersMax) {
      const [oldest] = this.#senders.keys();
      if (oldest !== undefined) this.#senders.delete(oldest);
    }
    return { sender: id, kind, payload: new Uint8Array(inner.subarray(innerBytes)) };
  }
}

function decrypt(key: Uint8Array, bytes: Buffer): Buffer | undefined {
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(headBytes, headBytes + nonceBytes));
  decipher.setAAD(bytes.subarray(0, headBytes));
  decipher.setAuthTag(bytes.subarray(bytes.byteLength - tagBytes));
  const inner = decipher.update(bytes.subarray(headBytes + nonceBytes, bytes.byteLength - tagBytes));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return inner;
}

/** Notes the sequence and says whether it is new. */
function accept(sender: Sender, boot: number, sequence: number, nowMs: number): boolean {
  const mayRewind = nowMs - sender.heardAtMs > bootForgetMs;
  if (boot < sender.boot && !mayRewind) return false;
  if (boot !== sender.boot) {
    sender.boot = boot;
    sender.highest = -1;
    sender.seen = 0n;
  }
  const behind = sender.highest - sequence;
  if (behind >= windowSize) return false;
  if (behind >= 0) {
    const bit = 1n << BigInt(behind);
    if ((sender.seen & bit) !== 0n) return false;
    sender.seen |= bit;
  } else {
    const ahead = -behind;
    sender.seen = ahead >= windowSize ? 1n : BigInt.asUintN(windowSize, sender.seen << BigInt(ahead)) | 1n;
    sender.highest = sequence;
  }
  sender.heardAtMs = nowMs;
  return true;
}
