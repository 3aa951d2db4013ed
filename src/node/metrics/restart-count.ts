import type { PromiseId } from "../../model/ids.ts";
import { single, type MetricFamily } from "../../model/metric.ts";
import type { InstanceReport } from "../../model/promise.ts";

/** Restarts of instances on this node since the agent started: reports carry those of one promise, and promises go. */
export class RestartCount {
  readonly #known = new Map<PromiseId, number>();
  #total = 0;

  /** Counts a report and hands it on. The first one of a promise that an earlier agent left behind brings that agent's restarts. */
  seen(report: InstanceReport): InstanceReport {
    const { promise, phase, restarts } = report;
    const known = this.#known.get(promise) ?? (phase === "admitted" ? 0 : restarts);
    this.#total += Math.max(0, restarts - known);
    if (phase === "stopped") this.#known.delete(promise);
    else this.#known.set(promise, restarts);
    return report;
  }

  families(): readonly MetricFamily[] {
    return [
      single(
        "counter",
        "muster_instance_restarts_total",
        "Starts of instances after their first one, since the agent started.",
        this.#total,
      ),
    ];
  }
}
