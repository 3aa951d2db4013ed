/** Carries out what the keeper asks of running containers: their probes, and the hooks before their stop. */
import type { ProbeAction } from "../model/probe.ts";
import type { Clock } from "../ports/clock.ts";
import type { ContainerRuntime } from "../ports/container-runtime.ts";
import type { Fabric } from "../ports/fabric.ts";
import type { ProbeAnswer, Prober } from "../ports/prober.ts";

export interface InstanceProbesPorts {
  readonly clock: Clock;
  readonly runtime: ContainerRuntime;
  readonly fabric: Fabric;
  readonly prober: Prober;
}

/** Where a probe or a hook goes. */
export interface ProbeTarget {
  readonly containerId: string;
  readonly endpointId: string;
  readonly timeoutMs: number;
}

const detailMax = 200;

export class InstanceProbes {
  readonly #ports: InstanceProbesPorts;
  /** Addresses by endpoint. */
  readonly #addresses = new Map<string, readonly string[]>();

  constructor(ports: InstanceProbesPorts) {
    this.#ports = ports;
  }

  /** The endpoint was made anew or taken away. */
  forget(endpointId: string): void {
    this.#addresses.delete(endpointId);
  }

  /** Never rejects, and is over at the timeout. */
  async probe(action: ProbeAction, target: ProbeTarget): Promise<ProbeAnswer> {
    const { clock } = this.#ports;
    const abort = new AbortController();
    const cancel = clock.at(clock.now() + target.timeoutMs, () => abort.abort());
    const late = new Promise<ProbeAnswer>((resolve) => {
      const give = (): void => resolve({ isWell: false, detail: `no answer in ${target.timeoutMs} ms` });
      abort.signal.addEventListener("abort", give, { once: true });
    });
    try {
      return await Promise.race([this.#ask(action, target, abort.signal), late]);
    } catch (error) {
      return { isWell: false, detail: oneLine(error instanceof Error ? error.message : String(error)) };
    } finally {
      cancel();
      abort.abort();
    }
  }

  async #ask(action: ProbeAction, target: ProbeTarget, signal: AbortSignal): Promise<ProbeAnswer> {
    if (action.kind === "exec") return this.#exec(action.command, target.containerId, signal);
    return this.#ports.prober.probe(action, await this.#addressesOf(target.endpointId), signal);
  }

  async #exec(args: readonly string[], containerId: string, signal: AbortSignal): Promise<ProbeAnswer> {
    const session = await this.#ports.runtime.exec(containerId, { args, env: [] });
    const kill = (): void => session.kill();
    signal.addEventListener("abort", kill, { once: true });
    if (signal.aborted) kill();
    let said = "";
    const decoder = new TextDecoder();
    await session.closeInput();
    for await (const { data } of session.output)
      if (said.length < detailMax) said += decoder.decode(data, { stream: true });
    const code = await session.exitCode;
    signal.removeEventListener("abort", kill);
    const words = said.trim() === "" ? `exited with ${code}` : `exited with ${code}: ${oneLine(said)}`;
    return { isWell: code === 0, detail: words };
  }

  /** The address that programs without IPv6 listen on goes first. */
  async #addressesOf(endpointId: string): Promise<readonly string[]> {
    const known = this.#addresses.get(endpointId);
    if (known !== undefined) return known;
    const endpoint = (await this.#ports.fabric.list()).find(({ id }) => id === endpointId);
    const addresses = endpoint === undefined ? [] : [endpoint.ipv4, endpoint.ipv6];
    if (endpoint !== undefined) this.#addresses.set(endpointId, addresses);
    return addresses;
  }
}

function oneLine(text: string): string {
  return (text.trim().split("\n")[0] ?? "").slice(0, detailMax);
}
