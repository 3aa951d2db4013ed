import type { Instant } from "../machine.ts";
import type { SweepTarget } from "./messages.ts";

interface Sweep {
  readonly target: SweepTarget;
  isInFlight: boolean;
  retryAt: Instant;
  failures: number;
}

const retryMinMs = 1_000;
const retryMaxMs = 60_000;
/** Sweeps under way at a time. */
const inFlightMax = 4;

/** Containers and endpoints that no promise wants, until they are gone. */
export class Sweeps {
  readonly #sweeps = new Map<string, Sweep>();

  /** True when it is new. */
  add(target: SweepTarget, now: Instant): boolean {
    const key = `${target.what} ${target.id}`;
    if (this.#sweeps.has(key)) return false;
    this.#sweeps.set(key, {
      target,
      isInFlight: false,
      retryAt: now,
      failures: 0,
    });
    return true;
  }

  /** Those to begin now. */
  begin(now: Instant): readonly SweepTarget[] {
    const room = this.#room();
    const begun: SweepTarget[] = [];
    for (const sweep of this.#sweeps.values()) {
      if (begun.length >= room) break;
      if (sweep.isInFlight || sweep.retryAt > now) continue;
      sweep.isInFlight = true;
      begun.push(sweep.target);
    }
    return begun;
  }

  ended(target: SweepTarget, isGone: boolean, now: Instant): void {
    const key = `${target.what} ${target.id}`;
    const sweep = this.#sweeps.get(key);
    if (sweep === undefined) return;
    if (isGone) {
      this.#sweeps.delete(key);
      return;
    }
    const delay = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(sweep.failures, 10));
    sweep.isInFlight = false;
    sweep.failures++;
    sweep.retryAt = now + delay;
  }

  /** When the next one is to be begun; undefined when none waits, or an end is to come first. */
  deadline(): Instant | undefined {
    if (this.#room() === 0) return undefined;
    let first: Instant | undefined;
    for (const { isInFlight, retryAt } of this.#sweeps.values())
      if (!isInFlight && (first === undefined || retryAt < first)) first = retryAt;
    return first;
  }

  #room(): number {
    let room = inFlightMax;
    for (const sweep of this.#sweeps.values()) if (sweep.isInFlight) room--;
    return room;
  }
}
