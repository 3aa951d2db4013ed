/** Users and groups of the machine that stand for a container's when it has a user namespace. */
export interface IdRange {
  /** The machine's id of the container's root. */
  readonly base: number;
  readonly size: number;
}
