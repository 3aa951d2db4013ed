/** Users and groups of the machine that stand for a container's when it has a user namespace. */
export interface IdRange {
  /** The machine's id of the container's root. */
  readonly base: number;
  readonly size: number;
}

/** As many ids as images use. */
const rangeSize = 65_536;
/** Above what people, services and other tools' ranges commonly take, and below where ids become negative numbers. */
const firstBase = 0x4000_0000;
const lastBase = 0x7ffe_0000;

export function idRange(base: number): IdRange {
  return { base, size: rangeSize };
}

/** The lowest range that none of `taken` is; undefined when all sixteen thousand are. */
export function freeIdRange(taken: ReadonlySet<number>): IdRange | undefined {
  for (let base = firstBase; base <= lastBase; base += rangeSize) if (!taken.has(base)) return idRange(base);
  return undefined;
}
