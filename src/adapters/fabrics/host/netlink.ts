/**
 * Requests to the kernel's routing tables (rtnetlink(7)) through a raw socket: an endpoint takes a
 * dozen changes of some 50 us each, where one spawned `ip` alone costs 2 ms.
 *
 * A socket stays in the network namespace in which it was opened. Requests are answered before
 * `send` returns, so nothing here waits.
 */
import { ptr, read } from "bun:ffi";
import type { LibC } from "./libc.ts";

const addressFamilyNetlink = 16;
const rawCloseOnExec = 3 | 0o2_000_000;
const dontWait = 0x40;
const replyBytesMax = 32 * 1024;
const headerBytes = 16;
const typeError = 2;

export const netlinkType = { newLink: 16, getLink: 18, newAddress: 20, newRoute: 24 } as const;
const flagRequest = 0x1;
const flagAck = 0x4;
export const netlinkFlag = { replace: 0x100, exclusive: 0x200, create: 0x400 } as const;

/** `errno` as the kernel gave it, such as 17 for what exists. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  readonly errno: number;
  constructor(what: string, errno: number) {
    super(`${what}: errno ${errno}`);
    this.errno = errno;
  }
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

export function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

export class NetlinkSocket {
  readonly #libc: LibC;
  readonly #fd: number;
  readonly #reply = Buffer.alloc(replyBytesMax);
  #sequence = 0;

  constructor(libc: LibC) {
    this.#libc = libc;
    this.#fd = libc.symbols.socket(addressFamilyNetlink, rawCloseOnExec, 0);
    if (this.#fd < 0) throw new NetlinkError("open a netlink socket", errnoOf(libc));
  }

  /** Makes one change; `what` names it in errors. */
  change(what: string, type: number, flags: number, ...body: readonly Uint8Array[]): void {
    const reply = this.#exchange(what, type, flags | flagAck, body);
    const errno = -reply.readInt32LE(headerBytes);
    if (errno !== 0) throw new NetlinkError(what, errno);
  }

  /** The index of a link; undefined when there is none of that name. */
  linkIndex(name: string): number | undefined {
    const body = [Buffer.alloc(16), attribute(3, cString(name))];
    const reply = this.#exchange(`find link ${name}`, netlinkType.getLink, 0, body);
    if (reply.readUInt16LE(4) !== typeError) return reply.readInt32LE(headerBytes + 4);
    const errno = -reply.readInt32LE(headerBytes);
    const noSuchDevice = 19;
    if (errno === noSuchDevice) return undefined;
    throw new NetlinkError(`find link ${name}`, errno);
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
    const { send, recv } = this.#libc.symbols;
    if (send(this.#fd, ptr(message), message.length, 0) < 0)
      throw new NetlinkError(what, errnoOf(this.#libc));
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
