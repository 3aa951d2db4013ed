import { randomBytes } from "node:crypto";
import type { Entropy } from "../../ports/entropy.ts";

/** The machine's cryptographic random numbers. */
export class SystemEntropy implements Entropy {
  bytes(length: number): Uint8Array {
    return new Uint8Array(randomBytes(length));
  }
}
