/**
 * Attaches and detaches as an agent does, and dies by SIGKILL before its Nth step: every call to the
 * kernel, to the records on disk, and to nft is one. Run as `bun fabric-victim.ts OPTIONS N`; prints
 * `survived` when there is no Nth step.
 */
import { EndpointRecords } from "../../src/adapters/fabrics/host/endpoint-records.ts";
import { HostFabric, type HostFabricOptions } from "../../src/adapters/fabrics/host/host-fabric.ts";
import { NetlinkSocket } from "../../src/adapters/fabrics/host/netlink.ts";
import { NetworkNamespaces } from "../../src/adapters/fabrics/host/network-namespace.ts";
import { NftQueue } from "../../src/adapters/fabrics/host/nft-queue.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import { quiet } from "./fabric-rig.ts";

const [optionsText = "", deadlyText = ""] = process.argv.slice(2);
const options: HostFabricOptions = JSON.parse(optionsText);
let steps = 0;

function step(): void {
  steps += 1;
  if (steps !== Number(deadlyText)) return;
  process.kill(process.pid, "SIGKILL");
  // The signal is delivered on the way out of a system call, at the latest with the next one.
  for (;;) process.uptime();
}

/** Every call of `name` becomes a step. */
function count<Name extends string>(
  prototype: Record<Name, (...args: never[]) => unknown>,
  name: Name,
): void {
  const original: unknown = Reflect.get(prototype, name);
  if (typeof original !== "function") throw new Error(`${name} is no method`);
  Reflect.set(prototype, name, function counted(this: unknown, ...args: unknown[]): unknown {
    step();
    return Reflect.apply(original, this, args);
  });
}

count(NetlinkSocket.prototype, "change");
count(EndpointRecords.prototype, "put");
count(EndpointRecords.prototype, "delete");
count(NftQueue.prototype, "apply");
count(NetworkNamespaces.prototype, "remove");
const { create } = NetworkNamespaces.prototype;
NetworkNamespaces.prototype.create = function counted<T>(path: string, inside: () => T): T {
  step();
  return Reflect.apply(create<T>, this, [
    path,
    () => {
      step();
      const result = inside();
      step();
      return result;
    },
  ]);
};

const port = Number.parseInt(options.key, 16) % 10_000;
const spec = (id: string, last: number) => ({
  id,
  owner: `shop/${id}`,
  ipv6: `fd12:${options.key.slice(0, 4)}:${options.key.slice(4)}::${last}`,
  ports: last === 2 ? [] : [{ container: 80, published: 20_000 + port, protocol: "udp" as const }],
});
const fabric = new HostFabric({ clock: new SystemClock(), log: quiet }, options);
await fabric.attach(spec("a", 1));
await fabric.attach(spec("b", 2));
await fabric.detach("a");
await fabric.attach(spec("c", 3));
await fabric.detach("b");
await fabric.detach("c");
await fabric.close();
process.stdout.write("survived");
