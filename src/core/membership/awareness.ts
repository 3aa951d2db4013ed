/**
 * Local health (Lifeguard 4.1). A node that misses acks it should have had, is late itself, or hears
 * that it is suspected, has reason to doubt itself before it doubts others: its score rises and its
 * own timeouts stretch with it.
 */
export class Awareness {
  readonly #scoreMax: number;
  #score = 0;

  /** Scores run from 0, healthy, to `factorMax - 1`. */
  constructor(factorMax: number) {
    this.#scoreMax = factorMax - 1;
  }

  get score(): number {
    return this.#score;
  }

  adjust(delta: number): void {
    this.#score = Math.min(this.#scoreMax, Math.max(0, this.#score + delta));
  }

  /** The timeout to use instead of `baseMs`: base * (score + 1). */
  scaled(baseMs: number): number {
    return baseMs * (this.#score + 1);
  }
}
