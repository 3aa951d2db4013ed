/** What is counted and measured, as Prometheus' text format can say it. Names end in their unit; counters in `_total`. */

export type MetricLabels = Readonly<Record<string, string>>;

export interface MetricSample {
  readonly labels: MetricLabels;
  readonly value: number;
}

export interface HistogramSample {
  readonly labels: MetricLabels;
  /** How many values were at most `le`, in ascending order of `le`; what is larger is in `count` alone. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
  readonly count: number;
  readonly sum: number;
}

export type MetricFamily =
  | {
      /** A counter only grows while the process lives; a gauge is what it is now. */
      readonly type: "counter" | "gauge";
      readonly name: string;
      readonly help: string;
      readonly samples: readonly MetricSample[];
    }
  | {
      readonly type: "histogram";
      readonly name: string;
      readonly help: string;
      readonly samples: readonly HistogramSample[];
    };

/** A family of one sample without labels. */
export function single(type: "counter" | "gauge", name: string, help: string, value: number): MetricFamily {
  return { type, name, help, samples: [{ labels: {}, value }] };
}
