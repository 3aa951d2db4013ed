/** The open streams of one connection: signals to frames and back. Ids are given by the end that dialled. */
import type { TransportError } from "../../ports/transport.ts";
import type { Connection } from "./connection.ts";
import { FrameError, frameTypes, type Message } from "./frames.ts";
import { StreamEnd, type StreamSignal } from "./stream-end.ts";

const empty = new Uint8Array();

export class SessionStreams {
  readonly #connection: Connection;
  readonly #ends = new Map<number, StreamEnd>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get size(): number {
    return this.#ends.size;
  }

  has(id: number): boolean {
    return this.#ends.has(id);
  }

  create(id: number): StreamEnd {
    const end = new StreamEnd({
      send: (signal) => this.#send(id, signal),
      ended: () => this.#ends.delete(id),
    });
    this.#ends.set(id, end);
    return end;
  }

  /** True when the message was a stream's. Signals to a stream that has ended are late and ignored. */
  take(message: Message): boolean {
    const signal = signalOf(message);
    if (signal === undefined) return false;
    this.#ends.get(message.id)?.receive(signal);
    return true;
  }

  failAll(error: TransportError): void {
    for (const end of [...this.#ends.values()]) end.fail(error);
  }

  #send(id: number, signal: StreamSignal): void {
    switch (signal.kind) {
      case "data":
        // A copy: the writer may reuse its buffer as soon as the write resolves.
        this.#connection.send("bulk", frameTypes.data, id, signal.chunk.slice());
        return;
      case "finish":
        // Behind the chunks, so in their lane.
        this.#connection.send("bulk", frameTypes.finish, id, empty);
        return;
      case "credit": {
        const body = new Uint8Array(4);
        new DataView(body.buffer).setUint32(0, signal.bytes);
        this.#connection.send("urgent", frameTypes.credit, id, body);
        return;
      }
      case "abort":
        this.#connection.send("urgent", frameTypes.abort, id, empty);
    }
  }
}

function signalOf(message: Message): StreamSignal | undefined {
  switch (message.type) {
    case frameTypes.data:
      return { kind: "data", chunk: message.body };
    case frameTypes.finish:
      return { kind: "finish" };
    case frameTypes.abort:
      return { kind: "abort" };
    case frameTypes.credit:
      if (message.body.byteLength !== 4) throw new FrameError("a credit of the wrong size");
      return {
        kind: "credit",
        bytes: new DataView(message.body.buffer, message.body.byteOffset, 4).getUint32(0),
      };
    default:
      return undefined;
  }
}
