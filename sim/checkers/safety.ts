/** What must hold at every instant, whatever fails. */
import { isOccupying, type CohortState } from "../../src/core/cohort/state.ts";
import { encodeState } from "../../src/core/cohort/state-codec.ts";
import type { GroupId } from "../../src/model/ids.ts";
import { canonicalJson } from "../../src/wire/digest.ts";
import type { World } from "../world/world.ts";

/**
 * W1  No promise ever has two running containers.
 * W2  Members of one cohort that have applied the same index have the same state.
 * W3  In one term of one cohort at most one member leads.
 * W4  No book holds more than its node has: CPU, memory, published ports.
 * W5  Nothing runs that is in no book of its node.
 * W6  In a cohort's state at most one promise occupies a slot (H1 of the cohort's protocol).
 * W7  A cohort's history only grows: what was read stays as it was.
 */
export class SafetyChecker {
  readonly #world: World;
  readonly #states = new Map<string, string>();
  readonly #leaders = new Map<string, string>();
  readonly #judged = new WeakSet<CohortState>();
  readonly #histories = new Map<GroupId, string[]>();
  readonly violations: string[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  check(): void {
    this.#checkPromises();
    for (const node of this.#world.live) {
      this.#checkGroups(node.name, node);
      this.#checkBook(node);
    }
  }

  #fail(text: string): void {
    this.violations.push(`${this.#world.clock.now().toFixed(1)} ms: ${text}`);
  }

  #checkPromises(): void {
    const seen = new Map<string, string>();
    for (const { promise, container, node } of this.#world.running()) {
      const key = `${node.name} ${promise}`;
      const other = seen.get(`${promise} ${container}`);
      if (other !== undefined)
        this.#fail(`W1: ${container} of promise ${promise} runs twice: ${other} and ${key}`);
      seen.set(`${promise} ${container}`, key);
    }
  }

  #checkGroups(name: string, node: World["nodes"][number]): void {
    for (const group of node.agent?.cohorts() ?? []) {
      const { state } = group;
      if (state === undefined) continue;
      if (!this.#judged.has(state)) {
        this.#judged.add(state);
        this.#checkState(name, state);
      }
      // What consensus says: the group itself learns of it only after the next commit of the store.
      const status = group.status();
      if (status.leader !== node.id) continue;
      const term = `${group.id}#${status.term}`;
      const leader = this.#leaders.get(term);
      if (leader === undefined) this.#leaders.set(term, name);
      else if (leader !== name) this.#fail(`W3: ${leader} and ${name} lead ${term}`);
    }
  }

  #checkState(name: string, state: CohortState): void {
    const at = `${state.group}@${state.index}`;
    const text = canonicalJson(encodeState(state));
    const known = this.#states.get(at);
    if (known !== undefined) {
      if (known !== text) this.#fail(`W2: ${name} differs at ${at}`);
      return;
    }
    this.#states.set(at, text);
    const occupied = new Set<number>();
    for (const promise of state.promises.values()) {
      if (!isOccupying(promise)) continue;
      if (occupied.has(promise.replica)) this.#fail(`W6: slot ${promise.replica} is promised twice at ${at}`);
      occupied.add(promise.replica);
    }
    this.#checkHistory(state, at);
  }

  #checkHistory({ group, history, historyCount }: CohortState, at: string): void {
    const lines = this.#histories.get(group) ?? [];
    this.#histories.set(group, lines);
    const first = historyCount - history.length;
    history.forEach((event, i) => {
      const line = canonicalJson(event);
      const known = lines[first + i];
      if (known === undefined) lines[first + i] = line;
      else if (known !== line) this.#fail(`W7: line ${first + i} of the history changed at ${at}`);
    });
  }

  #checkBook(node: World["nodes"][number]): void {
    const summary = node.agent?.bookSummary();
    if (summary === undefined) return;
    let cpuMillis = 0;
    let memoryBytes = 0;
    const ports = new Set<string>();
    for (const line of summary.lines) {
      cpuMillis += line.resources.cpuMillis;
      memoryBytes += line.resources.memoryBytes;
      for (const { published, protocol } of line.ports) {
        if (published === undefined) continue;
        if (ports.has(`${published}/${protocol}`))
          this.#fail(`W4: ${node.name} promised port ${published}/${protocol} twice`);
        ports.add(`${published}/${protocol}`);
      }
    }
    if (cpuMillis > summary.capacity.cpuMillis) this.#fail(`W4: ${node.name} over-committed its CPU`);
    if (memoryBytes > summary.capacity.memoryBytes) this.#fail(`W4: ${node.name} over-committed its memory`);
    const promised = new Set(summary.lines.map(({ promise }) => promise));
    for (const { spec, status } of node.machine.all()) {
      const promise = spec.labels["muster.promise"];
      if (
        status.phase === "running" &&
        promise !== undefined &&
        !promised.has(promise) &&
        !summary.released.has(promise)
      ) {
        this.#strays.set(
          `${node.name} ${spec.id}`,
          this.#strays.get(`${node.name} ${spec.id}`) ?? this.#world.clock.now(),
        );
      } else {
        this.#strays.delete(`${node.name} ${spec.id}`);
      }
    }
    for (const [key, since] of this.#strays) {
      if (!key.startsWith(`${node.name} `) || this.#world.clock.now() - since < strayGraceMs) continue;
      this.#fail(`W5: ${key} runs and nobody promised it`);
      this.#strays.delete(key);
    }
  }

  /** A new agent takes a moment to sweep what a lost life left. */
  readonly #strays = new Map<string, number>();
}

const strayGraceMs = 5_000;
