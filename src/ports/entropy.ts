/** Randomness, as drivers see it. Cores get a seeded generator made from it. */
export interface Entropy {
  /** Cryptographically strong in production, seeded in the simulator. */
  bytes(length: number): Uint8Array;
}
