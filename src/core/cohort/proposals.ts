/** What this steward has proposed in its term and not seen committed or dropped. */
import type { PromiseId } from "../../model/ids.ts";
import type { CohortCommand } from "./commands.ts";

export class Proposals {
  readonly #open = new Map<number, CohortCommand>();
  #next = 1;

  /** A number for one proposal; never given twice by this machine. */
  number(): number {
    const number = this.#next;
    this.#next += 1;
    return number;
  }

  add(command: CohortCommand): void {
    this.#open.set(command.proposal, command);
  }

  /** The proposal with this number, which is open no more. */
  take(proposal: number): CohortCommand | undefined {
    const command = this.#open.get(proposal);
    this.#open.delete(proposal);
    return command;
  }

  has(kind: CohortCommand["kind"]): boolean {
    for (const command of this.#open.values()) if (command.kind === kind) return true;
    return false;
  }

  /** Promises whose answer is known and on its way into the log. */
  settling(): ReadonlySet<PromiseId> {
    const ids = new Set<PromiseId>();
    for (const command of this.#open.values()) {
      if (command.kind === "released") for (const id of command.promises) ids.add(id);
      if (command.kind !== "answer") continue;
      for (const id of command.promised) ids.add(id);
      for (const { promise } of command.refused) ids.add(promise);
    }
    return ids;
  }

  clear(): void {
    this.#open.clear();
  }
}
