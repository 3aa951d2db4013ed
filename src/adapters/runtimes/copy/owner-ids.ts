/** Owners as the machine counts them and as a container with a user namespace does: shifted by the range's base. */

/** As many ids as a range has. */
const rangeSize = 65_536;

/** What is no id of the range is told as the machine has it. */
export function insideId(id: number, base: number): number {
  return base > 0 && id >= base && id < base + rangeSize ? id - base : id;
}

/** What the range has no room for belongs to nobody inside. */
export function outsideId(id: number, base: number): number {
  if (base === 0) return id;
  return id < rangeSize ? base + id : base + rangeSize - 2;
}
