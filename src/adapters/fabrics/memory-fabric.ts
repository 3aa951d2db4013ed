/** A fabric that only keeps the books: for the simulator and for tests. */
import type { PortSpec } from "../../model/spec.ts";
import { FabricError, type Endpoint, type EndpointSpec, type Fabric } from "../../ports/fabric.ts";

interface Attachment {
  readonly spec: EndpointSpec;
  readonly endpoint: Endpoint;
}

/**
 * The network of a machine that exists only in memory. Endpoints outlive the agent: whoever plays the
 * machine keeps this object, and every agent that starts on it opens a `MemoryFabric` over it.
 */
export class MemoryNetwork {
  readonly attachments = new Map<string, Attachment>();
  /** `port/protocol` to who has it: programs of the machine that are not ours. */
  readonly foreignPorts = new Map<string, string>();
  nextHost = 2;

  /** The power went: no interface is left. */
  losePower(): void {
    this.attachments.clear();
  }
}

export class MemoryFabric implements Fabric {
  readonly #network: MemoryNetwork;

  constructor(ports: { readonly network: MemoryNetwork }) {
    this.#network = ports.network;
  }

  async attach(spec: EndpointSpec): Promise<Endpoint> {
    const { attachments } = this.#network;
    const known = attachments.get(spec.id);
    if (known !== undefined) return known.endpoint;
    this.#refuseTakenAddress(spec.ipv6);
    for (const port of spec.ports) this.#refuseTakenPort(port);
    const host = this.#network.nextHost++;
    const endpoint: Endpoint = {
      id: spec.id,
      networkNamespace: `/memory/netns/${spec.id}`,
      ipv6: spec.ipv6,
      ipv4: `10.210.${(host >> 8) & 255}.${host & 255}`,
    };
    attachments.set(spec.id, { spec, endpoint });
    return endpoint;
  }

  async detach(id: string): Promise<void> {
    this.#network.attachments.delete(id);
  }

  async list(): Promise<readonly Endpoint[]> {
    return [...this.#network.attachments.values()].map((one) => one.endpoint);
  }

  async portHolder(port: number, protocol: "tcp" | "udp"): Promise<string | undefined> {
    return this.#holderOf(port, protocol);
  }

  async close(): Promise<void> {}

  #holderOf(port: number, protocol: "tcp" | "udp"): string | undefined {
    for (const { spec } of this.#network.attachments.values())
      for (const own of spec.ports)
        if (own.published === port && own.protocol === protocol) return spec.owner;
    return this.#network.foreignPorts.get(`${port}/${protocol}`);
  }

  #refuseTakenAddress(address: string): void {
    for (const { spec } of this.#network.attachments.values())
      if (spec.ipv6 === address)
        throw new FabricError(`address ${address} is taken by ${spec.owner}`, {
          code: "address-taken",
          address,
          holder: spec.owner,
        });
  }

  #refuseTakenPort({ published, protocol }: PortSpec): void {
    if (published === undefined) return;
    const holder = this.#holderOf(published, protocol);
    if (holder === undefined) return;
    throw new FabricError(`port ${published}/${protocol} is taken by ${holder}`, {
      code: "port-taken",
      port: published,
      protocol,
      holder,
    });
  }
}
