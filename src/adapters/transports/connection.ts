/**
 * One TLS connection as messages: framing, lanes, partial writes, and the watch over a peer that stops answering.
 *
 * While something sent is unanswered, a ping goes out, and ticks without a byte back are counted. Ticks, not
 * wall time: when this process itself was stopped for seconds, that is one tick, and the peer is not blamed.
 */
import { FrameDecoder, FrameError, frameTypes, type FrameType, type Message } from "./frames.ts";
import { Outbox, type Lane } from "./outbox.ts";

export interface ConnectionEvents {
  message(message: Message): void;
  /** About a second without an answer to what was sent. */
  silent(): void;
  /** Bytes again, after `silent`. */
  awake(): void;
  /** Once, for whatever reason. */
  closed(reason: string): void;
}

const writeBytes = 128 * 1024;
const tickMs = 250;
const silentTicks = 4;
const deadTicks = 20;
/** For the peer to take the last bytes. */
const farewellMs = 1_000;

const empty = new Uint8Array();

/** The part of a socket that a connection needs. */
export interface ByteSocket {
  write(bytes: Uint8Array): number;
  end(): void;
  terminate(): void;
}

export class Connection {
  readonly #socket: ByteSocket;
  #decoder: FrameDecoder;
  #events: ConnectionEvents;
  readonly #outbox = new Outbox();
  #unsent: Uint8Array | undefined;
  #isBlocked = false;
  #flushQueued = false;
  #isClosed = false;
  #tick: ReturnType<typeof setTimeout> | undefined;
  #heardSinceSend = true;
  #pingSent = false;
  #quietTicks = 0;
  /** Monotonic milliseconds of the last byte in, and of the last message that was not mere keepalive. */
  heardAtMs: number = performance.now();
  usedAtMs: number = performance.now();

  constructor(socket: ByteSocket, events: ConnectionEvents, messageBytesMax?: number) {
    this.#socket = socket;
    this.#events = events;
    this.#decoder = new FrameDecoder(messageBytesMax);
  }

  get queuedBytes(): number {
    return this.#outbox.queuedBytes + (this.#unsent?.byteLength ?? 0);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Hands the connection over, with the bound on message bodies that its new phase has. */
  become(events: ConnectionEvents, messageBytesMax?: number): void {
    this.#events = events;
    this.#decoder = new FrameDecoder(messageBytesMax);
  }

  send(lane: Lane, type: FrameType, id: number, ...parts: readonly Uint8Array[]): void {
    if (this.#isClosed) return;
    this.#outbox.push(lane, type, id, ...parts);
    this.#heardSinceSend = false;
    if (type !== frameTypes.pong && type !== frameTypes.ping) {
      this.usedAtMs = performance.now();
      this.#watch();
    }
    if (this.#flushQueued || this.#isBlocked) return;
    this.#flushQueued = true;
    // Everything sent in one turn goes out in one write.
    queueMicrotask(() => {
      this.#flushQueued = false;
      this.#flush();
    });
  }

  /** Asks for a sign of life although nothing is waiting for an answer. */
  check(): void {
    if (this.#isClosed || this.#pingSent) return;
    this.#pingSent = true;
    this.send("urgent", frameTypes.ping, 0, empty);
    this.#watch();
  }

  received(bytes: Uint8Array): void {
    if (this.#isClosed) return;
    this.heardAtMs = performance.now();
    this.#heardSinceSend = true;
    this.#pingSent = false;
    const wasSilent = this.#quietTicks >= silentTicks;
    this.#quietTicks = 0;
    if (wasSilent) this.#events.awake();
    try {
      for (const message of this.#decoder.push(bytes)) {
        this.#dispatch(message);
        if (this.#isClosed) return;
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.abort(`malformed: ${error.message}`);
    }
  }

  drained(): void {
    this.#isBlocked = false;
    this.#flush();
  }

  /** Writes what it can of what waits, then ends; the rest is lost. */
  close(reason: string): void {
    if (this.#isClosed) return;
    if (!this.#isBlocked) this.#flush();
    this.#end(reason);
    this.#socket.end();
    setTimeout(() => this.#socket.terminate(), farewellMs).unref();
  }

  /** Ends at once, as for a peer that is gone or misbehaves. */
  abort(reason: string): void {
    this.#end(reason);
    this.#socket.terminate();
  }

  /** The socket is gone. */
  lost(reason: string): void {
    this.#end(reason);
  }

  #dispatch(message: Message): void {
    if (message.type === frameTypes.ping) {
      this.send("urgent", frameTypes.pong, 0, empty);
    } else if (message.type !== frameTypes.pong) {
      this.usedAtMs = this.heardAtMs;
      this.#events.message(message);
    }
  }

  #flush(): void {
    while (!this.#isClosed) {
      const piece = this.#unsent ?? this.#outbox.take(writeBytes);
      if (piece === undefined) return;
      const written = this.#socket.write(piece);
      if (written < 0) {
        this.#end("the connection is gone");
        return;
      }
      if (written < piece.byteLength) {
        this.#unsent = piece.subarray(written);
        this.#isBlocked = true;
        return;
      }
      this.#unsent = undefined;
    }
  }

  #watch(): void {
    if (this.#tick !== undefined || this.#isClosed) return;
    this.#tick = setTimeout(() => {
      this.#tick = undefined;
      // What has arrived while this process was not running is read before the peer is judged.
      setImmediate(() => this.#onTick());
    }, tickMs);
    this.#tick.unref();
  }

  #onTick(): void {
    if (this.#isClosed || this.#heardSinceSend) return;
    if (!this.#pingSent) {
      this.check();
      return;
    }
    this.#quietTicks += 1;
    if (this.#quietTicks === silentTicks) this.#events.silent();
    if (this.#quietTicks >= deadTicks) this.abort("no sign of life");
    else this.#watch();
  }

  #end(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#tick);
    this.#events.closed(reason);
  }
}
