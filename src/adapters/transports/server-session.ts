/** The accepting end of a connection from one authenticated peer: hands what arrives to the handlers. */
import type { NodeId } from "../../model/ids.ts";
import type { Logger } from "../../ports/logger.ts";
import { frameBytesMax, type TransportError, type TransportHandlers } from "../../ports/transport.ts";
import type { Connection } from "./connection.ts";
import { FrameError, decodeNamed, encodeText, fragmentBytes, frameTypes, type Message } from "./frames.ts";
import { SessionStreams } from "./session-streams.ts";

/** Calls and streams of one peer at work here at once; more are answered with an error. */
const callsMax = 1_024;
const streamsMax = 1_024;
/** Unread answers past this many bytes mean a peer that asks and does not read; it is cut off. */
const answerBytesMax = 128 * 1024 * 1024;
const errorTextMax = 4_096;

export interface ServerSessionPorts {
  readonly connection: Connection;
  readonly handlers: TransportHandlers;
  readonly logger: Logger;
  /** Whether posts on this connection still count; false once the peer has a newer one. */
  isCurrent(): boolean;
  bound(): void;
}

export class ServerSession {
  readonly #ports: ServerSessionPorts;
  readonly #peer: NodeId;
  readonly #streams: SessionStreams;
  #calls = 0;

  constructor(ports: ServerSessionPorts, options: { readonly peer: NodeId }) {
    this.#ports = ports;
    this.#peer = options.peer;
    this.#streams = new SessionStreams(ports.connection);
  }

  get hasStreams(): boolean {
    return this.#streams.size > 0;
  }

  get isBusy(): boolean {
    return this.#calls > 0 || this.#streams.size > 0;
  }

  message(message: Message): void {
    switch (message.type) {
      case frameTypes.bind:
        this.#ports.bound();
        return;
      case frameTypes.post: {
        const { name, payload } = decodeNamed(message.body);
        if (this.#ports.isCurrent())
          this.#guarded("post", () => this.#ports.handlers.post(this.#peer, name, payload));
        return;
      }
      case frameTypes.call:
        this.#call(message);
        return;
      case frameTypes.open:
        this.#open(message);
        return;
      default:
        if (!this.#streams.take(message)) throw new FrameError(`type ${message.type} from the dialling end`);
    }
  }

  fail(error: TransportError): void {
    this.#streams.failAll(error);
  }

  #call(message: Message): void {
    const { name, payload } = decodeNamed(message.body);
    if (this.#calls >= callsMax) {
      this.#refuse(message.id, `more than ${callsMax} calls at once`);
      return;
    }
    this.#calls += 1;
    const answering = async (): Promise<void> => {
      try {
        this.#answer(message.id, await this.#ports.handlers.call(this.#peer, name, payload));
      } catch (error) {
        this.#refuse(message.id, error instanceof Error ? error.message : String(error));
      } finally {
        this.#calls -= 1;
      }
    };
    void answering();
  }

  #answer(id: number, answer: Uint8Array): void {
    if (answer.byteLength > frameBytesMax) {
      this.#refuse(id, `the answer of ${answer.byteLength} bytes is too large`);
      return;
    }
    const { connection } = this.#ports;
    if (connection.queuedBytes + answer.byteLength > answerBytesMax) {
      connection.abort("the peer does not read its answers");
      return;
    }
    connection.send(answer.byteLength > fragmentBytes ? "bulk" : "urgent", frameTypes.answer, id, answer);
  }

  #refuse(id: number, detail: string): void {
    this.#ports.connection.send("urgent", frameTypes.fail, id, encodeText(detail.slice(0, errorTextMax)));
  }

  #open(message: Message): void {
    const { name, payload } = decodeNamed(message.body);
    if (this.#streams.has(message.id)) throw new FrameError("a stream opened twice");
    if (this.#streams.size >= streamsMax) {
      this.#refuse(message.id, `more than ${streamsMax} streams at once`);
      return;
    }
    const stream = this.#streams.create(message.id);
    this.#ports.connection.send("urgent", frameTypes.opened, message.id, new Uint8Array());
    this.#guarded(
      "open",
      () => this.#ports.handlers.open(this.#peer, name, payload, stream),
      () => stream.abort(),
    );
  }

  /** A handler's throw must not take the socket's callback down with it. */
  #guarded(what: string, run: () => void, otherwise?: () => void): void {
    try {
      run();
    } catch (error) {
      this.#ports.logger.error("a transport handler threw", {
        handler: what,
        peer: this.#peer,
        error: String(error),
      });
      otherwise?.();
    }
  }
}
