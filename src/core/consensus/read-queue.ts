import type { MemberId } from "./entry.ts";

/** A read that may be answered once the state machine has applied `index`. */
export interface ReadyRead {
  readonly context: string;
  readonly index: number;
}

interface PendingRead extends ReadyRead {
  readonly sequence: number;
}

/**
 * Reads that wait for proof that their leader still leads (thesis 6.4). Reads are numbered; heartbeats carry the newest
 * number and answers echo it, so an answer vouches for every read up to that number.
 */
export class ReadQueue {
  #sequence = 0;
  #early: string[] = [];
  #pending: PendingRead[] = [];
  readonly #acked = new Map<MemberId, number>();

  /** The newest number still waiting; 0 when nothing waits. */
  get newest(): number {
    return this.#pending.at(-1)?.sequence ?? 0;
  }

  /** Keeps a read that came before the leader has committed an entry of its own term. */
  postpone(context: string): void {
    this.#early.push(context);
  }

  takePostponed(): string[] {
    const contexts = this.#early;
    this.#early = [];
    return contexts;
  }

  add(context: string, index: number): void {
    this.#sequence++;
    this.#pending.push({ context, index, sequence: this.#sequence });
  }

  acknowledge(member: MemberId, sequence: number): void {
    this.#acked.set(member, Math.max(sequence, this.#acked.get(member) ?? 0));
  }

  acknowledged(member: MemberId): number {
    return this.#acked.get(member) ?? 0;
  }

  /** Takes the reads that a quorum has vouched for, in the order they came. */
  takeUpTo(sequence: number): ReadyRead[] {
    const ready = this.#pending.filter((read) => read.sequence <= sequence);
    this.#pending = this.#pending.filter((read) => read.sequence > sequence);
    return ready.map(({ context, index }) => ({ context, index }));
  }

  /** Forgets everything and returns the contexts of the reads that will not be answered. */
  clear(): string[] {
    const dropped = [...this.#pending.map((read) => read.context), ...this.#early];
    this.#early = [];
    this.#pending = [];
    this.#acked.clear();
    return dropped;
  }
}
