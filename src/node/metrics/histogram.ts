/** Values sorted into buckets as they come: constant memory however many there are. */
import type { HistogramSample, MetricLabels } from "../../model/metric.ts";

/** Upper bounds in seconds, from a fast sync of a disk to what somebody has noticed. */
export const durationBuckets: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #count = 0;
  #sum = 0;

  /** `bounds` ascend. */
  constructor(bounds: readonly number[] = durationBuckets) {
    this.#bounds = bounds;
    this.#counts = bounds.map(() => 0);
  }

  observe(value: number): void {
    this.#count += 1;
    this.#sum += value;
    const at = this.#bounds.findIndex((bound) => value <= bound);
    if (at >= 0) this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  sample(labels: MetricLabels): HistogramSample {
    let below = 0;
    const buckets = this.#bounds.map((le, at) => ({ le, count: (below += this.#counts[at] ?? 0) }));
    return { labels, buckets, count: this.#count, sum: this.#sum };
  }
}
