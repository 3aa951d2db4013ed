/** Time, as drivers see it. The simulator's clock is virtual; cores never see a clock, only its readings. */
import type { Instant } from "../core/machine.ts";

export interface Clock {
  /** Monotonic milliseconds; the origin means nothing. */
  now(): Instant;
  /** Wall clock, milliseconds since 1970. For people and logs, never for deciding what follows what. */
  wallMs(): number;
  /** Calls `callback` once, at or after `when`. The returned function cancels; cancelling twice is harmless. */
  at(when: Instant, callback: () => void): () => void;
}
