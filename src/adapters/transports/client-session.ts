/** The dialling end of a connection to one peer: posts, calls awaiting answers, streams it opened. */
import type { NodeId } from "../../model/ids.ts";
import { TransportError } from "../../ports/transport.ts";
import type { Connection } from "./connection.ts";
import { FrameError, decodeText, encodeNamed, frameTypes, fragmentBytes, type Message } from "./frames.ts";
import { SessionStreams } from "./session-streams.ts";
import type { StreamEnd } from "./stream-end.ts";

/** Posts past this many unsent bytes are dropped, the newest first, so that what arrives has no hole before it. */
export const postQueueBytesMax = 8 * 1024 * 1024;
/** Calls and opens past this many unsent bytes fail at once. */
const callQueueBytesMax = 64 * 1024 * 1024;
const idsEnd = 0x1_0000_0000;

export interface Answer<T> {
  resolve(value: T): void;
  reject(error: TransportError): void;
}

export class ClientSession {
  readonly connection: Connection;
  readonly #peer: NodeId;
  readonly #calls = new Map<number, Answer<Uint8Array>>();
  readonly #opens = new Map<number, Answer<StreamEnd>>();
  readonly #streams: SessionStreams;
  #nextId = 1;

  constructor(connection: Connection, peer: NodeId) {
    this.connection = connection;
    this.#peer = peer;
    this.#streams = new SessionStreams(connection);
  }

  /** Whether somebody waits for something on this connection. */
  get isBusy(): boolean {
    return this.#calls.size + this.#opens.size + this.#streams.size > 0;
  }

  get hasStreams(): boolean {
    return this.#streams.size > 0;
  }

  post(channel: string, payload: Uint8Array): void {
    if (
      this.connection.queuedBytes + payload.byteLength > postQueueBytesMax &&
      this.connection.queuedBytes > 0
    )
      return;
    this.connection.send("urgent", frameTypes.post, this.#freshId(), encodeNamed(channel), payload);
  }

  /** The returned function forgets the call; a late answer is ignored. */
  call(method: string, payload: Uint8Array, answer: Answer<Uint8Array>): () => void {
    if (!this.#hasRoom(payload)) {
      answer.reject(this.#overfull());
      return () => undefined;
    }
    const id = this.#freshId();
    this.#calls.set(id, answer);
    const lane = payload.byteLength > fragmentBytes ? "bulk" : "urgent";
    this.connection.send(lane, frameTypes.call, id, encodeNamed(method), payload);
    return () => this.#calls.delete(id);
  }

  /** The returned function gives the stream up. */
  open(method: string, header: Uint8Array, answer: Answer<StreamEnd>): () => void {
    if (!this.#hasRoom(header)) {
      answer.reject(this.#overfull());
      return () => undefined;
    }
    const id = this.#freshId();
    this.#opens.set(id, answer);
    this.connection.send("urgent", frameTypes.open, id, encodeNamed(method), header);
    return () => {
      if (this.#opens.delete(id)) this.connection.send("urgent", frameTypes.abort, id, new Uint8Array());
    };
  }

  message(message: Message): void {
    switch (message.type) {
      case frameTypes.answer:
        this.#takeCall(message.id)?.resolve(message.body);
        return;
      case frameTypes.fail: {
        const detail = decodeText(message.body);
        const error = new TransportError(`the peer answered with an error: ${detail}`, {
          code: "remote",
          peer: this.#peer,
          detail,
        });
        this.#takeCall(message.id)?.reject(error);
        const open = this.#opens.get(message.id);
        this.#opens.delete(message.id);
        open?.reject(error);
        return;
      }
      case frameTypes.opened: {
        const open = this.#opens.get(message.id);
        if (open === undefined) return;
        this.#opens.delete(message.id);
        open.resolve(this.#streams.create(message.id));
        return;
      }
      default:
        if (!this.#streams.take(message)) throw new FrameError(`type ${message.type} from the dialled end`);
    }
  }

  /** The connection is gone: everything that waits on it fails. */
  fail(error: TransportError): void {
    for (const answer of [...this.#calls.values(), ...this.#opens.values()]) answer.reject(error);
    this.#calls.clear();
    this.#opens.clear();
    this.#streams.failAll(error);
  }

  #takeCall(id: number): Answer<Uint8Array> | undefined {
    const answer = this.#calls.get(id);
    this.#calls.delete(id);
    return answer;
  }

  #hasRoom(payload: Uint8Array): boolean {
    const { queuedBytes } = this.connection;
    return queuedBytes === 0 || queuedBytes + payload.byteLength <= callQueueBytesMax;
  }

  #overfull(): TransportError {
    return new TransportError("too much is waiting to be sent to the peer", {
      code: "unreachable",
      peer: this.#peer,
    });
  }

  #freshId(): number {
    for (;;) {
      const id = this.#nextId;
      this.#nextId = id + 1 === idsEnd ? 1 : id + 1;
      if (!this.#calls.has(id) && !this.#opens.has(id) && !this.#streams.has(id)) return id;
    }
  }
}
