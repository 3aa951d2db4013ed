/**
 * Requests to the kernel's routing tables (rtnetlink(7)) and to its packet filter through a raw socket:
 * an endpoint takes a dozen changes of some 50 us each, where one spawned `ip` alone costs 2 ms.
 *
 * A socket stays in the network namespace in which it was opened. Requests are answered before
 * `send` returns, so nothing here waits.
 */
import { getSystemErrorName } from "node:util";
import { ptr, read } from "bun:ffi";
import type { LibC } from "./libc.ts";

const addressFamilyNetlink = 16;
const rawCloseOnExec = 3 | 0o2_000_000;
const dontWait = 0x40;
const replyBytesMax = 32 * 1024;
const headerBytes = 16;
const typeError = 2;
const typeDone = 3;

/** Families of the kernel's side: routing, or the packet filter (nfnetlink). */
export const netlinkFamily = { route: 0, netfilter: 12 } as const;
export const netlinkType = {
  newLink: 16,
  getLink: 18,
  newAddress: 20,
  getAddress: 22,
  newRoute: 24,
} as const;
const flagRequest = 0x1;
const flagAck = 0x4;
const flagDump = 0x300;
export const netlinkFlag = { replace: 0x100, exclusive: 0x200, create: 0x400, append: 0x800 } as const;

export const errno = { noEntry: 2, exists: 17, noDevice: 19 } as const;

/** `errno` as the kernel gave it, such as 17 for what exists. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  readonly errno: number;
  constructor(what: string, errno: number) {
    super(`${what}: ${errnoName(errno)}`);
    this.errno = errno;
  }
}

/** Such as `EEXIST`. */
function errnoName(number: number): string {
  return number > 0 ? getSystemErrorName(-number) : `errno ${number}`;
}

/** One attribute: type, length, payload, padded to four bytes. */
export function attribute(type: number, ...payload: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(payload);
  const whole = Buffer.alloc((4 + body.length + 3) & ~3);
  whole.writeUInt16LE(4 + body.length, 0);
  whole.writeUInt16LE(type, 2);
  body.copy(whole, 4);
  return whole;
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Big-endian, as numbers of the network are. */
export function netUint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** The payload of the first attribute of a type; `from` is where the attributes begin. */
export function findAttribute(message: Buffer, from: number, type: number): Buffer | undefined {
  let at = from;
  while (at + 4 <= message.length) {
    const length = message.readUInt16LE(at);
    if (length < 4 || at + length > message.length) return undefined;
    // The two highest bits say how the payload is ordered, not what it is.
    if ((message.readUInt16LE(at + 2) & 0x3fff) === type) return message.subarray(at + 4, at + length);
    at += (length + 3) & ~3;
  }
  return undefined;
}

export interface Link {
  readonly index: number;
  readonly mtuBytes: number;
}

export function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

export class NetlinkSocket {
  readonly #libc: LibC;
  readonly #fd: number;
  readonly #reply = Buffer.alloc(replyBytesMax);
  #sequence = 0;

  constructor(libc: LibC, family: number = netlinkFamily.route) {
    this.#libc = libc;
    this.#fd = libc.symbols.socket(addressFamilyNetlink, rawCloseOnExec, family);
    if (this.#fd < 0) throw new NetlinkError("open a netlink socket", errnoOf(libc));
  }

  /** Makes one change; `what` names it in errors. */
  change(what: string, type: number, flags: number, ...body: readonly Uint8Array[]): void {
    const reply = this.#exchange(what, type, flags | flagAck, body);
    const code = -reply.readInt32LE(headerBytes);
    if (code !== 0) throw new NetlinkError(what, code);
  }

  /** The answer to a question, its header included; undefined when the kernel knows no such thing. */
  ask(what: string, type: number, ...body: readonly Uint8Array[]): Buffer | undefined {
    const reply = this.#exchange(what, type, 0, body);
    if (reply.readUInt16LE(4) !== typeError) return reply;
    const code = -reply.readInt32LE(headerBytes);
    if (code === errno.noEntry || code === errno.noDevice) return undefined;
    throw new NetlinkError(what, code);
  }

  /** All the kernel has of a kind, a message each, headers included. */
  list(what: string, type: number, ...body: readonly Uint8Array[]): readonly Buffer[] {
    const messages: Buffer[] = [];
    let datagram = this.#exchange(what, type, flagDump, body);
    for (;;) {
      for (let at = 0; at + headerBytes <= datagram.length;) {
        const length = datagram.readUInt32LE(at);
        const message = datagram.subarray(at, at + Math.max(length, headerBytes));
        const kind = message.readUInt16LE(4);
        if (kind === typeDone) return messages;
        if (kind === typeError) throw new NetlinkError(what, -message.readInt32LE(headerBytes));
        messages.push(Buffer.from(message));
        at += (message.length + 3) & ~3;
      }
      datagram = this.#receive(what);
    }
  }

  /** Undefined when there is none of that name. */
  link(name: string): Link | undefined {
    const body = [Buffer.alloc(16), attribute(3, cString(name))];
    const reply = this.ask(`find link ${name}`, netlinkType.getLink, ...body);
    if (reply === undefined) return undefined;
    const mtu = findAttribute(reply, headerBytes + 16, 4);
    return { index: reply.readInt32LE(headerBytes + 4), mtuBytes: mtu?.readUInt32LE(0) ?? 0 };
  }

  /** Of all links, both families, each as hexadecimal bytes. */
  addresses(): ReadonlySet<string> {
    const found = new Set<string>();
    for (const message of this.list("list addresses", netlinkType.getAddress, Buffer.alloc(8))) {
      // A point-to-point link has its own end in IFA_LOCAL; IPv6 knows only IFA_ADDRESS.
      const address =
        findAttribute(message, headerBytes + 8, 2) ?? findAttribute(message, headerBytes + 8, 1);
      if (address !== undefined) found.add(address.toString("hex"));
    }
    return found;
  }

  close(): void {
    this.#libc.symbols.close(this.#fd);
  }

  #exchange(what: string, type: number, flags: number, body: readonly Uint8Array[]): Buffer {
    const payload = Buffer.concat(body);
    const message = Buffer.alloc(headerBytes + payload.length);
    this.#sequence += 1;
    message.writeUInt32LE(message.length, 0);
    message.writeUInt16LE(type, 4);
    message.writeUInt16LE(flags | flagRequest, 6);
    message.writeUInt32LE(this.#sequence, 8);
    payload.copy(message, headerBytes);
    if (this.#libc.symbols.send(this.#fd, ptr(message), message.length, 0) < 0)
      throw new NetlinkError(what, errnoOf(this.#libc));
    return this.#receive(what);
  }

  /** One datagram; it is good until the next. */
  #receive(what: string): Buffer {
    const { recv } = this.#libc.symbols;
    const bytes = Number(recv(this.#fd, ptr(this.#reply), replyBytesMax, dontWait));
    if (bytes < headerBytes + 4) throw new NetlinkError(what, errnoOf(this.#libc));
    return this.#reply.subarray(0, bytes);
  }
}

/** Only right directly after the call that failed. */
export function errnoOf(libc: LibC): number {
  const location = libc.symbols.__errno_location();
  return location === null ? -1 : read.i32(location);
}
