/** The counters that sit between an agent and its ports. */
import type { MetricFamily } from "../../model/metric.ts";
import type { Clock } from "../../ports/clock.ts";
import type { ImageExchange, ImageStore } from "../../ports/image-store.ts";
import type { Store } from "../../ports/store.ts";
import { MeteredImages } from "./metered-images.ts";
import { MeteredStore } from "./metered-store.ts";
import { RestartCount } from "./restart-count.ts";

export interface MetersPorts {
  readonly store: Store;
  readonly images: ImageStore & ImageExchange;
  readonly clock: Pick<Clock, "now">;
}

export class Meters {
  /** What the agent uses in place of what it was given. */
  readonly ports: { readonly store: MeteredStore; readonly images: MeteredImages };
  readonly restarts = new RestartCount();

  constructor(ports: MetersPorts) {
    this.ports = { store: new MeteredStore(ports), images: new MeteredImages(ports.images) };
  }

  families(): readonly MetricFamily[] {
    return [...this.restarts.families(), ...this.ports.store.families(), ...this.ports.images.families()];
  }
}
