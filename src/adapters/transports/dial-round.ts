/** Dials all addresses of a peer, a little apart; the first that answers as the peer wins. */
import type { Address } from "../../ports/transport.ts";
import type { Connection } from "./connection.ts";
import type { DialEvents, DialFailure } from "./dial.ts";

export interface DialRoundPorts {
  dial(address: Address, events: DialEvents): () => void;
  connected(connection: Connection): void;
  /** All addresses failed; the failure that tells most. */
  failed(failure: DialFailure): void;
}

/** Between the start of one address and that of the next while the first has not answered. */
const staggerMs = 300;

export class DialRound {
  readonly #ports: DialRoundPorts;
  readonly #left: Address[];
  readonly #cancels = new Set<() => void>();
  readonly #failures: DialFailure[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(ports: DialRoundPorts, addresses: readonly Address[]) {
    this.#ports = ports;
    this.#left = [...addresses];
  }

  start(): void {
    if (this.#left.length === 0) {
      queueMicrotask(() => this.#failWhenDone());
      return;
    }
    this.#next();
  }

  /** Gives up; no event follows. */
  cancel(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  #next(): void {
    clearTimeout(this.#timer);
    const address = this.#left.shift();
    if (address === undefined || this.#isOver) return;
    const cancel = this.#ports.dial(address, {
      connected: (connection) => {
        this.#cancels.delete(cancel);
        if (this.#isOver) {
          connection.close("another address was quicker");
          return;
        }
        this.cancel();
        this.#ports.connected(connection);
      },
      failed: (failure) => {
        this.#cancels.delete(cancel);
        this.#failures.push(failure);
        if (this.#left.length > 0) this.#next();
        else this.#failWhenDone();
      },
    });
    this.#cancels.add(cancel);
    if (this.#left.length > 0) this.#timer = setTimeout(() => this.#next(), staggerMs);
  }

  #failWhenDone(): void {
    if (this.#isOver || this.#cancels.size > 0) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    const worth = { refused: 2, stranger: 1, unreachable: 0 };
    const [first] = this.#failures.toSorted((a, b) => worth[b.kind] - worth[a.kind]);
    this.#ports.failed(first ?? { kind: "unreachable", detail: "no address is known" });
  }
}
