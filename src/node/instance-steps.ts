/**
 * The steps that make a promise true, in the keeper's order: images, network, containers, and back.
 */
import type { ContainerRun, StepEffect, StepFailure } from "../core/keeper/messages.ts";
import { replicaAddress } from "../model/address.ts";
import { defined } from "../model/assert.ts";
import type { PromiseTerms } from "../model/promise.ts";
import { signalNumberOf } from "../model/signal.ts";
import type { ContainerTemplate, ReplicaTemplate } from "../model/spec.ts";
import { portsOf } from "../model/template.ts";
import { RuntimeError, type ContainerRuntime } from "../ports/container-runtime.ts";
import { FabricError, type Fabric } from "../ports/fabric.ts";
import { ImageError, type Image, type ImageStore } from "../ports/image-store.ts";
import { VolumeError, type VolumeStore } from "../ports/volume-store.ts";
import { containerSpecOf } from "./container-spec.ts";
import { imageOf } from "./image-of.ts";
import type { InstanceProbes } from "./instance-probes.ts";

export interface InstanceStepsPorts {
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  readonly fabric: Fabric;
  readonly volumes: VolumeStore;
  readonly probes: InstanceProbes;
}

/** What the keeper wants to know of a step that is done. */
export interface StepResult {
  readonly imageDigest?: string;
  readonly networkNamespace?: string;
}

const signalKill = 9;
const signalTerm = 15;

export class InstanceSteps {
  readonly #ports: InstanceStepsPorts;
  readonly #fleetPrefix: string;
  /** By promise and container. */
  readonly #pulls = new Map<string, AbortController>();

  constructor(ports: InstanceStepsPorts, options: { readonly fleetPrefix: string }) {
    this.#ports = ports;
    this.#fleetPrefix = options.fleetPrefix;
  }

  /** Gives up the pull under way for a container. */
  abort(promise: string, container: string): void {
    this.#pulls.get(`${promise} ${container}`)?.abort();
  }

  close(): void {
    for (const pull of this.#pulls.values()) pull.abort();
  }

  /** Rejects with the port's error; `failureOf` says what the keeper makes of it. */
  async perform(effect: StepEffect): Promise<StepResult> {
    const { step, terms, endpointId } = effect;
    if (step === "attach") return this.#attach(terms, endpointId);
    if (step === "detach") {
      await this.#ports.fabric.detach(endpointId);
      this.#ports.probes.forget(endpointId);
      return {};
    }
    const run = defined(effect.container, "the container of a step");
    if (step === "ensure-image") return { imageDigest: (await this.#pull(effect, run.template)).digest };
    await this.#performOn(run, effect);
    return {};
  }

  async #performOn({ id, template }: ContainerRun, effect: StepEffect): Promise<void> {
    const { runtime } = this.#ports;
    const { step, terms } = effect;
    switch (step) {
      case "create":
        return this.#create(effect);
      case "start":
        return runtime.start(id);
      case "pre-stop":
        return this.#runHook(effect);
      case "stop":
        return runtime.signal(id, await this.#stopSignal(terms.template, template));
      case "kill":
        return runtime.signal(id, signalKill);
      case "remove":
        return runtime.remove(id);
      case "ensure-image":
      case "attach":
      case "detach":
    }
  }

  async #attach(terms: PromiseTerms, endpointId: string): Promise<StepResult> {
    this.#ports.probes.forget(endpointId);
    const ipv6 = replicaAddress(this.#fleetPrefix, terms.deployment, terms.replica);
    const owner = `${terms.namespace}/${terms.name}, replica ${terms.replica}`;
    const ports = portsOf(terms.template);
    const { networkNamespace } = await this.#ports.fabric.attach({ id: endpointId, owner, ipv6, ports });
    return { networkNamespace };
  }

  async #create({ terms, endpointId, container, networkNamespace }: StepEffect): Promise<void> {
    const { fabric, runtime, volumes } = this.#ports;
    const run = defined(container, "the container of a step");
    const endpoint = (await fabric.list()).find(({ id }) => id === endpointId);
    const directories = new Map<string, string>();
    for (const mount of run.template.mounts) {
      if (mount.kind !== "volume" || directories.has(mount.volume)) continue;
      directories.set(mount.volume, await volumes.directory(terms.deployment, mount.volume));
    }
    const spec = containerSpecOf(terms, await this.#imageOf(terms.template, run.template), {
      run,
      addresses: endpoint === undefined ? [] : [endpoint.ipv6, endpoint.ipv4],
      volumes: directories,
      ...(networkNamespace === undefined ? {} : { networkNamespace }),
    });
    await runtime.create(spec);
  }

  /** One that fails is told, and does not keep the container from being stopped. */
  async #runHook({ terms, endpointId, container }: StepEffect): Promise<void> {
    const { id, template } = defined(container, "the container of a step");
    const action = defined(template.preStop, "a hook");
    const timeoutMs = terms.template.stopTimeoutMs;
    const answer = await this.#ports.probes.probe(action, { containerId: id, endpointId, timeoutMs });
    if (!answer.isWell) throw new Error(`the hook before the stop failed: ${answer.detail}`);
  }

  async #pull({ promise, terms }: StepEffect, { name, image, pull }: ContainerTemplate): Promise<Image> {
    const { images } = this.#ports;
    if (pull !== "always") {
      const found = await imageOf(terms.template, () => images.find(image));
      if (found !== undefined) return found;
    }
    const key = `${promise} ${name}`;
    const abort = new AbortController();
    this.#pulls.set(key, abort);
    try {
      const ensure = (): Promise<Image> => images.ensure(image, { signal: abort.signal, pull });
      return defined(await imageOf(terms.template, ensure), "an image");
    } finally {
      this.#pulls.delete(key);
    }
  }

  async #imageOf(replica: ReplicaTemplate, { image }: ContainerTemplate): Promise<Image> {
    const found = await imageOf(replica, () => this.#ports.images.find(image));
    if (found === undefined) {
      throw new ImageError(`image ${image} is not on this node any more`, {
        code: "not-found",
        reference: image,
      });
    }
    return found;
  }

  async #stopSignal(replica: ReplicaTemplate, template: ContainerTemplate): Promise<number> {
    const image = await imageOf(replica, () => this.#ports.images.find(template.image));
    const name = template.stopSignal ?? image?.config.stopSignal ?? "SIGTERM";
    return signalNumberOf(name) ?? (Number(name) || signalTerm);
  }
}

/** Codes for which trying again soon will not help. */
const permanentCodes: ReadonlySet<string> = new Set([
  "bad-command",
  "bad-spec",
  "bad-volume",
  "not-here",
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
  const isOfPort =
    error instanceof RuntimeError ||
    error instanceof FabricError ||
    error instanceof ImageError ||
    error instanceof VolumeError;
  if (isOfPort) {
    return { code: error.info.code, message: error.message, permanent: permanentCodes.has(error.info.code) };
  }
  return {
    code: "failed",
    message: error instanceof Error ? error.message : String(error),
    permanent: false,
  };
}
