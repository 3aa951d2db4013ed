/** Tells the fleet what is free here, not at every change and never the same twice. */
import type { Resources } from "../model/spec.ts";
import type { MemberMeta } from "../model/member.ts";
import type { Clock } from "../ports/clock.ts";
import { gossipedMeta } from "./fleet-picture.ts";
import type { AgentOptions } from "./options.ts";

/** Free resources are gossiped at most this often. */
const metaPauseMs = 1_000;

export interface MetaGossipPorts {
  readonly clock: Clock;
  readonly free: () => Resources;
  readonly tell: (meta: MemberMeta) => void;
}

export class MetaGossip {
  readonly #ports: MetaGossipPorts;
  readonly #options: AgentOptions;
  #cancel: (() => void) | undefined;
  #told = "";
  #isClosed = false;

  constructor(ports: MetaGossipPorts, options: AgentOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** Something that was reserved is free, or the other way round. */
  changed(): void {
    if (this.#cancel !== undefined || this.#isClosed) return;
    const { clock } = this.#ports;
    this.#cancel = clock.at(clock.now() + metaPauseMs, () => {
      this.#cancel = undefined;
      const meta = gossipedMeta(this.#options, this.#ports.free());
      const text = JSON.stringify(meta);
      if (text === this.#told) return;
      this.#told = text;
      this.#ports.tell(meta);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
  }
}
