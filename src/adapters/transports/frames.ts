/**
 * The frames on a connection: `length u32 · type u8 · id u32 · body`, big-endian, the length counting what follows it.
 * A message whose body is larger than one frame goes as `more` frames and a last one of its own type, all with its id.
 * Bytes in, messages out; every bound is checked before memory is spent.
 */
import { frameBytesMax } from "../../ports/transport.ts";

/** The numbers are the protocol. */
export const frameTypes = {
  hello: 1,
  bind: 2,
  refuse: 3,
  ping: 4,
  pong: 5,
  more: 6,
  post: 10,
  call: 11,
  answer: 12,
  fail: 13,
  open: 20,
  opened: 21,
  data: 22,
  credit: 23,
  finish: 24,
  abort: 25,
  join: 30,
  joined: 31,
  root: 32,
} as const;

export type FrameType = (typeof frameTypes)[keyof typeof frameTypes];

export interface Message {
  readonly type: FrameType;
  readonly id: number;
  readonly body: Uint8Array;
}

export const frameHeaderBytes = 9;
/** Largest body of one frame; what is larger is split, so that nothing small waits long behind it. */
export const fragmentBytes = 64 * 1024;
/** A payload and the name in front of it. */
export const messageBodyMax = frameBytesMax + 256;
/** A sender interleaves one message of each lane; one more leaves room for change. */
const assembliesMax = 4;

export class FrameError extends Error {
  override readonly name = "FrameError";
}

const known = new Set<number>(Object.values(frameTypes));

function isFrameType(type: number): type is FrameType {
  return known.has(type);
}

/** Writes a header at `at`. */
export function writeHeader(
  into: DataView,
  at: number,
  type: FrameType,
  id: number,
  bodyBytes: number,
): void {
  into.setUint32(at, bodyBytes + frameHeaderBytes - 4);
  into.setUint8(at + 4, type);
  into.setUint32(at + 5, id);
}

/** One whole frame; for bodies of at most `fragmentBytes`. */
export function encodeFrame(type: FrameType, id: number, body: Uint8Array): Uint8Array {
  const frame = new Uint8Array(frameHeaderBytes + body.byteLength);
  writeHeader(new DataView(frame.buffer), 0, type, id, body.byteLength);
  frame.set(body, frameHeaderBytes);
  return frame;
}

/** Turns a byte stream into messages. After a FrameError the stream is beyond repair. */
export class FrameDecoder {
  readonly #bodyMax: number;
  /** Bytes that do not make a frame yet. */
  #rest: Uint8Array[] = [];
  #restBytes = 0;
  #wanted = frameHeaderBytes;
  readonly #assemblies = new Map<number, { parts: Uint8Array[]; bytes: number }>();

  /** `bodyMax` bounds a message; lower for those who have not proved who they are. */
  constructor(bodyMax: number = messageBodyMax) {
    this.#bodyMax = bodyMax;
  }

  /** The messages that `bytes` complete. Bodies do not alias `bytes`. Throws FrameError. */
  push(bytes: Uint8Array): Message[] {
    const messages: Message[] = [];
    if (this.#restBytes + bytes.byteLength < this.#wanted) {
      this.#keep(bytes);
      return messages;
    }
    const data =
      this.#restBytes === 0 ? bytes : concat([...this.#rest, bytes], this.#restBytes + bytes.byteLength);
    this.#rest = [];
    this.#restBytes = 0;
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    let at = 0;
    for (;;) {
      const left = data.byteLength - at;
      this.#wanted = frameHeaderBytes;
      if (left < frameHeaderBytes) break;
      const size = 4 + view.getUint32(at);
      if (size < frameHeaderBytes || size > frameHeaderBytes + Math.min(fragmentBytes, this.#bodyMax))
        throw new FrameError(`a frame of ${size} bytes`);
      this.#wanted = size;
      if (left < size) break;
      const message = this.#frame(
        view.getUint8(at + 4),
        view.getUint32(at + 5),
        data.subarray(at + frameHeaderBytes, at + size),
      );
      if (message !== undefined) messages.push(message);
      at += size;
    }
    if (at < data.byteLength) this.#keep(data.subarray(at));
    return messages;
  }

  #frame(type: number, id: number, body: Uint8Array): Message | undefined {
    if (!isFrameType(type)) throw new FrameError(`a frame of unknown type ${type}`);
    const assembly = this.#assemblies.get(id);
    if (type === frameTypes.more) {
      const bytes = (assembly?.bytes ?? 0) + body.byteLength;
      if (bytes > this.#bodyMax || body.byteLength === 0)
        throw new FrameError(`a message beyond ${this.#bodyMax} bytes`);
      if (assembly === undefined) {
        if (this.#assemblies.size === assembliesMax) throw new FrameError("too many messages at once");
        this.#assemblies.set(id, { parts: [copyOf(body)], bytes });
      } else {
        assembly.parts.push(copyOf(body));
        assembly.bytes = bytes;
      }
      return undefined;
    }
    if (assembly === undefined || !isFragmented(type)) return { type, id, body: copyOf(body) };
    this.#assemblies.delete(id);
    const bytes = assembly.bytes + body.byteLength;
    if (bytes > this.#bodyMax) throw new FrameError(`a message beyond ${this.#bodyMax} bytes`);
    return { type, id, body: concat([...assembly.parts, body], bytes) };
  }

  #keep(bytes: Uint8Array): void {
    this.#rest.push(copyOf(bytes));
    this.#restBytes += bytes.byteLength;
  }
}

/** Small signals of a stream may overtake the fragments of its chunk. */
function isFragmented(type: FrameType): boolean {
  return type !== frameTypes.credit && type !== frameTypes.abort && type !== frameTypes.opened;
}

function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function concat(parts: readonly Uint8Array[], total: number): Uint8Array {
  const whole = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** A name of at most 255 bytes and the payload after it, as bodies of posts, calls and opens are laid out. */
export function encodeNamed(name: string): Uint8Array {
  const text = encoder.encode(name);
  if (text.byteLength > 255) throw new RangeError("a channel or method name has at most 255 bytes");
  const prefix = new Uint8Array(1 + text.byteLength);
  prefix[0] = text.byteLength;
  prefix.set(text, 1);
  return prefix;
}

/** Throws FrameError when the name is cut short or not UTF-8. */
export function decodeNamed(body: Uint8Array): { readonly name: string; readonly payload: Uint8Array } {
  const length = body[0];
  if (length === undefined || 1 + length > body.byteLength) throw new FrameError("a name cut short");
  return { name: decodeText(body.subarray(1, 1 + length)), payload: body.subarray(1 + length) };
}

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Throws FrameError when the bytes are not UTF-8. */
export function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new FrameError("text that is not UTF-8", { cause });
  }
}
