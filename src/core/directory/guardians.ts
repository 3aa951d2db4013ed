/** Who keeps a key: the live nodes whose ids are nearest to it by XOR distance, as in Kademlia. */
import type { NodeId } from "../../model/ids.ts";

/**
 * The `count` ids nearest to `key`, the nearest first. `sortedIds` is in ascending order without repeats; all are
 * hex of one length. Walks the binary trie that the order implies, so the cost is about count * log(n).
 */
export function nearestIds(key: string, sortedIds: readonly NodeId[], count: number): NodeId[] {
  const found: NodeId[] = [];
  const collect = (from: number, to: number, bit: number): void => {
    if (from >= to || found.length >= count) return;
    const first = sortedIds[from];
    if (to - from === 1 && first !== undefined) {
      found.push(first);
      return;
    }
    const middle = firstWithBit(sortedIds, { from, to, bit });
    const isUpperNearer = bitAt(key, bit) === 1;
    if (isUpperNearer) collect(middle, to, bit + 1);
    collect(from, middle, bit + 1);
    if (!isUpperNearer) collect(middle, to, bit + 1);
  };
  collect(0, sortedIds.length, 0);
  return found;
}

/** Bit 0 is the most significant one. */
function bitAt(hex: string, bit: number): number {
  return (Number.parseInt(hex.charAt(bit >> 2), 16) >> (3 - (bit & 3))) & 1;
}

/** The first place in [from, to) whose id has the bit set; all ids there agree on the bits before it. */
function firstWithBit(ids: readonly NodeId[], range: { from: number; to: number; bit: number }): number {
  let { from, to } = range;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (bitAt(ids[middle] ?? "", range.bit) === 1) to = middle;
    else from = middle + 1;
  }
  return from;
}
