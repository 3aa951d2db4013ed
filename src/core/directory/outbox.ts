import type { NodeId } from "../../model/ids.ts";
import type { DirectoryEffect, DirectoryEvent, DirectoryMessage } from "./protocol.ts";

/** Collects the effects of one step in order. */
export class Outbox {
  #effects: DirectoryEffect[] = [];

  push(effect: DirectoryEffect): void {
    this.#effects.push(effect);
  }

  send(to: NodeId, message: DirectoryMessage): void {
    this.#effects.push({ kind: "send", to, message });
  }

  event(event: DirectoryEvent): void {
    this.#effects.push({ kind: "event", event });
  }

  take(): readonly DirectoryEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
