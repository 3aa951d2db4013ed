/** What the system knows of this process, under the names that Prometheus' client libraries share. */
import { readdirSync } from "node:fs";
import { single, type MetricFamily } from "../../model/metric.ts";

/** Often enough to catch what lasts, seldom enough to cost nothing. */
const sampleIntervalMs = 500;
const lagBuckets: readonly number[] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export class ProcessMetrics {
  readonly #startedAt = Date.now() / 1000 - process.uptime();
  readonly #lags = lagBuckets.map((le) => ({ le, count: 0 }));
  #lagCount = 0;
  #lagSum = 0;
  #sampler: ReturnType<typeof setInterval> | undefined;

  /** The first call begins to watch the event loop: nodes whose metrics nobody reads pay nothing for it. */
  families(): readonly MetricFamily[] {
    this.#watch();
    const { user, system } = process.cpuUsage();
    return [
      single(
        "counter",
        "process_cpu_seconds_total",
        "User and system CPU time of the agent.",
        (user + system) / 1_000_000,
      ),
      single(
        "gauge",
        "process_resident_memory_bytes",
        "Resident memory of the agent.",
        process.memoryUsage.rss(),
      ),
      single("gauge", "process_open_fds", "Open file descriptors of the agent.", openFiles()),
      single(
        "gauge",
        "process_start_time_seconds",
        "When the agent started, seconds since 1970.",
        this.#startedAt,
      ),
      {
        type: "histogram",
        name: "muster_event_loop_lag_seconds",
        help: "How late a timer of the agent fired; sampled twice a second from the first scrape on.",
        samples: [{ labels: {}, buckets: this.#lags, count: this.#lagCount, sum: this.#lagSum }],
      },
    ];
  }

  close(): void {
    clearInterval(this.#sampler);
    this.#sampler = undefined;
  }

  #watch(): void {
    if (this.#sampler !== undefined) return;
    let expectedAt = performance.now() + sampleIntervalMs;
    this.#sampler = setInterval(() => {
      const nowMs = performance.now();
      this.#observe(Math.max(0, nowMs - expectedAt) / 1000);
      expectedAt = nowMs + sampleIntervalMs;
    }, sampleIntervalMs);
    this.#sampler.unref();
  }

  #observe(seconds: number): void {
    this.#lagCount += 1;
    this.#lagSum += seconds;
    for (const bucket of this.#lags) if (seconds <= bucket.le) bucket.count += 1;
  }
}

function openFiles(): number {
  // One of them is the directory that is read.
  return readdirSync("/proc/self/fd").length - 1;
}
