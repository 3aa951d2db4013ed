/** Who has a published port or an address of this node: another endpoint, a program, another fleet's agent. */
import type { PortSpec } from "../../../model/spec.ts";
import { FabricError, type EndpointSpec } from "../../../ports/fabric.ts";
import { sameIpv6 } from "./addresses.ts";
import type { EndpointRecord } from "./endpoint-records.ts";
import type { LibC } from "./libc.ts";
import { listenerName } from "./listening-sockets.ts";
import { tablePrefix } from "./nft-table.ts";
import type { PacketFilter } from "./packet-filter.ts";

export interface PortClaimsPorts {
  readonly libc: LibC;
  readonly packetFilter: PacketFilter;
}

export class PortClaims {
  readonly #ports: PortClaimsPorts;
  readonly #table: string;

  constructor(ports: PortClaimsPorts, options: { readonly table: string }) {
    this.#ports = ports;
    this.#table = options.table;
  }

  /** Throws FabricError when something that `spec` asks for has a holder. */
  refuseClashes(spec: EndpointSpec, records: readonly EndpointRecord[]): void {
    const others = records.filter(({ id }) => id !== spec.id);
    const twin = others.find((other) => sameIpv6(other.ipv6, spec.ipv6));
    if (twin !== undefined)
      throw new FabricError(`attach ${spec.id}: address ${spec.ipv6} is taken by ${twin.owner}`, {
        code: "address-taken",
        address: spec.ipv6,
        holder: twin.owner,
      });
    const seen = new Set<string>();
    for (const { published, protocol } of spec.ports) {
      if (published === undefined) continue;
      const key = `${protocol} ${published}`;
      const holder = seen.has(key) ? `${spec.owner} itself` : this.holder(published, protocol, others);
      seen.add(key);
      if (holder !== undefined)
        throw new FabricError(`attach ${spec.id}: port ${published}/${protocol} is taken by ${holder}`, {
          code: "port-taken",
          port: published,
          protocol,
          holder,
        });
    }
  }

  /** Words for people; undefined when the port is free. */
  holder(
    port: number,
    protocol: PortSpec["protocol"],
    records: readonly EndpointRecord[],
  ): string | undefined {
    const own = records.find((record) =>
      record.ports.some((held) => held.published === port && held.protocol === protocol),
    );
    if (own !== undefined) return own.owner;
    return listenerName(this.#ports.libc, port, protocol) ?? this.#otherFleet(port, protocol);
  }

  /** Agents of other fleets on this machine publish in tables of their own, which no socket tells of. */
  #otherFleet(port: number, protocol: PortSpec["protocol"]): string | undefined {
    const { packetFilter } = this.#ports;
    const table = packetFilter
      .tables()
      .filter((name) => name.startsWith(tablePrefix) && name !== this.#table)
      .find((name) => packetFilter.publishes(name, "publish4", port, protocol));
    return table === undefined ? undefined : `another fleet's agent on this machine (table inet ${table})`;
  }
}
