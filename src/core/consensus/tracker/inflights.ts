import { assert } from "../../../model/assert.ts";

interface Flight {
  readonly lastIndex: number;
  readonly bytes: number;
}

/** The append messages sent to one follower and not yet acknowledged: a window by count and by bytes. */
export class Inflights {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  #flights: Flight[] = [];
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax;
  }

  get count(): number {
    return this.#flights.length;
  }

  /** The byte limit is soft: the message that crosses it is still admitted, the next is not. */
  get isFull(): boolean {
    return this.#flights.length >= this.#messagesMax || this.#bytes >= this.#bytesMax;
  }

  add(lastIndex: number, bytes: number): void {
    assert(!this.isFull, "no append is sent into a full window");
    this.#flights.push({ lastIndex, bytes });
    this.#bytes += bytes;
  }

  /** Forgets every message whose entries all lie at or below `index`. */
  freeUpTo(index: number): void {
    let freed = 0;
    for (const flight of this.#flights) {
      if (flight.lastIndex > index) break;
      this.#bytes -= flight.bytes;
      freed++;
    }
    if (freed > 0) this.#flights = this.#flights.slice(freed);
  }

  reset(): void {
    this.#flights = [];
    this.#bytes = 0;
  }
}
