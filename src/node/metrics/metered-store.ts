import type { MetricFamily } from "../../model/metric.ts";
import { single } from "../../model/metric.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Store, StoreTable, StoreWrite } from "../../ports/store.ts";
import { Histogram } from "./histogram.ts";

/** A store that knows how long its commits take. */
export class MeteredStore implements Store {
  readonly #store: Store;
  readonly #clock: Pick<Clock, "now">;
  readonly #durations = new Histogram();
  #failures = 0;

  constructor({ store, clock }: { readonly store: Store; readonly clock: Pick<Clock, "now"> }) {
    this.#store = store;
    this.#clock = clock;
  }

  commit(writes: readonly StoreWrite[]): Promise<void> {
    const startedAt = this.#clock.now();
    const done = this.#store.commit(writes);
    done.then(
      () => this.#durations.observe((this.#clock.now() - startedAt) / 1000),
      () => (this.#failures += 1),
    );
    return done;
  }

  get(table: StoreTable, key: string): ReturnType<Store["get"]> {
    return this.#store.get(table, key);
  }

  scan(table: StoreTable): ReturnType<Store["scan"]> {
    return this.#store.scan(table);
  }

  readLog(group: string): ReturnType<Store["readLog"]> {
    return this.#store.readLog(group);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  families(): readonly MetricFamily[] {
    return [
      {
        type: "histogram",
        name: "muster_store_commit_duration_seconds",
        help: "How long commits of this node's store took until they were durable.",
        samples: [this.#durations.sample({})],
      },
      single(
        "counter",
        "muster_store_commit_failures_total",
        "Commits that the store refused, as for a full disk.",
        this.#failures,
      ),
    ];
  }
}
