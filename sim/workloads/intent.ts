/**
 * What a user has asked of one deployment, and what may have come of it. A write that was acknowledged
 * is certain; one whose answer was lost or was "no steward" may or may not have happened, until a later
 * acknowledged one settles it.
 */
export interface Wanted {
  readonly replicas: number;
  readonly version: number;
}

export class Intent {
  readonly name: string;
  #certain: Wanted = { replicas: 0, version: 0 };
  #uncertain: Wanted[] = [];
  exists = false;

  constructor(name: string) {
    this.name = name;
  }

  acknowledged(wanted: Wanted): void {
    this.#certain = wanted;
    this.#uncertain = [];
    this.exists = wanted.replicas > 0;
  }

  perhaps(wanted: Wanted): void {
    this.#uncertain.push(wanted);
  }

  get certain(): Wanted {
    return this.#certain;
  }

  possible(): readonly Wanted[] {
    return [this.#certain, ...this.#uncertain];
  }
}
