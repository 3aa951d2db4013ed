import type { NetworkAction, ProbeAnswer, Prober } from "../../ports/prober.ts";

/** For the simulator and tests: whoever plays the machine says who is well. */
export class MemoryProber implements Prober {
  readonly #answer: (action: NetworkAction, addresses: readonly string[]) => ProbeAnswer;

  constructor(answer: (action: NetworkAction, addresses: readonly string[]) => ProbeAnswer) {
    this.#answer = answer;
  }

  async probe(action: NetworkAction, addresses: readonly string[]): Promise<ProbeAnswer> {
    return this.#answer(action, addresses);
  }
}
