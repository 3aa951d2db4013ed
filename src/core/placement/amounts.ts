/** Amounts as people write them in specs. */

/** `300Mi`; rounded down, so that what is called free is free. */
export function formatMemory(bytes: number): string {
  return `${Math.floor(bytes / (1024 * 1024))}Mi`;
}

/** `250m`, or whole cores as `2`. */
export function formatCpu(millis: number): string {
  return millis % 1000 === 0 ? `${millis / 1000}` : `${Math.floor(millis)}m`;
}
