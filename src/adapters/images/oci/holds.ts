/** What somebody is at work with and must not be swept away: names, each counted as often as it is held. */
export class Holds {
  readonly #counts = new Map<string, number>();

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  /** The returned function lets go again; a second call is harmless. */
  hold(names: Iterable<string>): () => void {
    const held = [...names];
    for (const name of held) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      for (const name of held) {
        const count = (this.#counts.get(name) ?? 0) - 1;
        if (count > 0) this.#counts.set(name, count);
        else this.#counts.delete(name);
      }
    };
  }
}
