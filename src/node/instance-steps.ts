/**
 * The steps that make a promise true, one at a time and in the keeper's order: image, network,
 * container, and back.
 */
import { constants } from "node:os";
import type { StepEffect, StepFailure } from "../core/keeper/messages.ts";
import { replicaAddress } from "../model/address.ts";
import type { PromiseId } from "../model/ids.ts";
import type { PromiseTerms } from "../model/promise.ts";
import { RuntimeError, type ContainerRuntime } from "../ports/container-runtime.ts";
import { FabricError, type Fabric } from "../ports/fabric.ts";
import { ImageError, type Image, type ImageStore } from "../ports/image-store.ts";
import { containerSpecOf } from "./container-spec.ts";
import { mainContainer, portsOf } from "../model/template.ts";
import { imageOf } from "./image-of.ts";

export interface InstanceStepsPorts {
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  readonly fabric: Fabric;
}

const signalKill = 9;
const signalTerm = 15;

export class InstanceSteps {
  readonly #ports: InstanceStepsPorts;
  readonly #fleetPrefix: string;
  readonly #pulls = new Map<PromiseId, AbortController>();

  constructor(ports: InstanceStepsPorts, options: { readonly fleetPrefix: string }) {
    this.#ports = ports;
    this.#fleetPrefix = options.fleetPrefix;
  }

  /** Gives up the pull under way for a promise. */
  abort(promise: PromiseId): void {
    this.#pulls.get(promise)?.abort();
  }

  close(): void {
    for (const pull of this.#pulls.values()) pull.abort();
  }

  /** Rejects with the port's error; `failureOf` says what the keeper makes of it. */
  async perform(effect: StepEffect): Promise<{ imageDigest?: string; networkNamespace?: string }> {
    const { runtime, fabric } = this.#ports;
    const { terms, containerId, endpointId } = effect;
    switch (effect.step) {
      case "ensure-image":
        return { imageDigest: (await this.#pull(effect)).digest };
      case "attach": {
        const ipv6 = replicaAddress(this.#fleetPrefix, terms.deployment, terms.replica);
        const owner = `${terms.namespace}/${terms.name}, replica ${terms.replica}`;
        const endpoint = await fabric.attach({
          id: endpointId,
          owner,
          ipv6,
          ports: portsOf(terms.template),
        });
        return { networkNamespace: endpoint.networkNamespace };
      }
      case "create": {
        const endpoint = (await fabric.list()).find(({ id }) => id === endpointId);
        const addresses = endpoint === undefined ? [] : [endpoint.ipv6, endpoint.ipv4];
        await runtime.create(containerSpecOf(terms, await this.#imageOf(terms), { ...effect, addresses }));
        return {};
      }
      case "start":
        await runtime.start(containerId);
        return {};
      case "stop":
        await runtime.signal(containerId, await this.#stopSignal(terms));
        return {};
      case "kill":
        await runtime.signal(containerId, signalKill);
        return {};
      case "remove":
        await runtime.remove(containerId);
        return {};
      case "detach":
        await fabric.detach(endpointId);
        return {};
    }
  }

  async #pull({ promise, terms }: StepEffect): Promise<Image> {
    const reference = mainContainer(terms.template).image;
    const found = await imageOf(terms.template, () => this.#ports.images.find(reference));
    if (found !== undefined) return found;
    const abort = new AbortController();
    this.#pulls.set(promise, abort);
    try {
      return await this.#ports.images.ensure(mainContainer(terms.template).image, { signal: abort.signal });
    } finally {
      this.#pulls.delete(promise);
    }
  }

  async #imageOf(terms: PromiseTerms): Promise<Image> {
    const { image } = mainContainer(terms.template);
    const found = await imageOf(terms.template, () => this.#ports.images.find(image));
    if (found === undefined) {
      throw new ImageError(`image ${image} is not on this node any more`, {
        code: "not-found",
        reference: image,
      });
    }
    return found;
  }

  async #stopSignal(terms: PromiseTerms): Promise<number> {
    const reference = mainContainer(terms.template).image;
    const image = await imageOf(terms.template, () => this.#ports.images.find(reference));
    const name = image?.config.stopSignal ?? "SIGTERM";
    const numbers: Readonly<Record<string, number>> = constants.signals;
    return numbers[name] ?? (Number(name) || signalTerm);
  }
}

/** Codes for which trying again soon will not help. */
const permanentCodes: ReadonlySet<string> = new Set([
  "bad-command",
  "bad-spec",
  "bad-reference",
  "bad-archive",
  "bad-manifest",
  "digest-mismatch",
  "no-platform",
  "plain-http",
  "unauthorized",
]);

/** What the keeper is told of a failed step. */
export function failureOf(error: unknown): StepFailure {
  if (error instanceof RuntimeError || error instanceof FabricError || error instanceof ImageError) {
    return { code: error.info.code, message: error.message, permanent: permanentCodes.has(error.info.code) };
  }
  return {
    code: "failed",
    message: error instanceof Error ? error.message : String(error),
    permanent: false,
  };
}
