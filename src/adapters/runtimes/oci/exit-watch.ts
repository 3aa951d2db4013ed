/**
 * Notices that containers ended. conmon leaves a file for each end, which the kernel reports at once;
 * a slow scan beside it finds what no event told: an overflow of the event queue, or a monitor that
 * died before its container.
 */
import { watch, type FSWatcher } from "node:fs";
import type { Clock } from "../../../ports/clock.ts";
import type { ContainerStatus } from "../../../ports/container-runtime.ts";

export interface ExitWatchOptions {
  readonly exitsDirectory: string;
  /** How late an end is noticed at worst when no event tells of it. */
  readonly scanIntervalMs: number;
}

export interface ExitWatchPorts {
  readonly clock: Clock;
  /** Status of one container; undefined when there is none of that id. */
  readonly statusOf: (id: string) => ContainerStatus | undefined;
  /** Ids of all containers. */
  readonly ids: () => readonly string[];
}

export class ExitWatch {
  readonly #ports: ExitWatchPorts;
  readonly #options: ExitWatchOptions;
  /** Ends already told, per listener: each is told of every end it can still see. */
  readonly #told = new Map<(status: ContainerStatus) => void, Set<string>>();
  #watcher: FSWatcher | undefined;
  #cancelScan: (() => void) | undefined;

  constructor(ports: ExitWatchPorts, options: ExitWatchOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  add(listener: (status: ContainerStatus) => void): () => void {
    this.#told.set(listener, new Set());
    this.#watcher ??= watch(this.#options.exitsDirectory, (_event, name) => {
      if (name !== null) this.#look(name);
    });
    this.#cancelScan?.();
    this.#scheduleScan(0);
    return () => {
      this.#told.delete(listener);
      if (this.#told.size === 0) this.close();
    };
  }

  /** Forgets a removed container. */
  forget(id: string): void {
    for (const told of this.#told.values()) told.delete(id);
  }

  close(): void {
    this.#told.clear();
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#cancelScan?.();
    this.#cancelScan = undefined;
  }

  #scheduleScan(delayMs: number): void {
    this.#cancelScan = this.#ports.clock.at(this.#ports.clock.now() + delayMs, () => {
      for (const id of this.#ports.ids()) this.#look(id);
      this.#scheduleScan(this.#options.scanIntervalMs);
    });
  }

  #look(id: string): void {
    const untold = [...this.#told].filter(([, told]) => !told.has(id));
    if (untold.length === 0) return;
    const status = this.#ports.statusOf(id);
    if (status?.phase !== "exited" && status?.phase !== "unknown") return;
    for (const [listener, told] of untold) {
      told.add(id);
      listener(status);
    }
  }
}
