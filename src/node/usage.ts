/** What runs on this node uses, and what runs on all of them. */
import { containerLabel, deploymentLabel, replicaLabel } from "../core/keeper/container-ids.ts";
import type { NodeId } from "../model/ids.ts";
import type { MemberRecord } from "../model/member.ts";
import { mainContainerName } from "../model/template.ts";
import type { ContainerUsageView, MachineUsage, NodeUsageView, UsageView } from "../model/usage.ts";
import type { Clock } from "../ports/clock.ts";
import type { ContainerRuntime, ContainerUsage } from "../ports/container-runtime.ts";
import { methods } from "../wire/calls.ts";
import type { Peers } from "./peers.ts";

export interface UsagePorts {
  readonly runtime: ContainerRuntime;
  readonly clock: Clock;
  readonly machineUsage: () => MachineUsage;
}

const callTimeoutMs = 1_000;

export async function ownUsage(
  { runtime, clock, machineUsage }: UsagePorts,
  { id, name }: { readonly id: NodeId; readonly name: string },
): Promise<NodeUsageView> {
  const usages = await runtime.usage();
  const containers = usages.map(containerView).filter((view) => view !== undefined);
  return {
    node: id,
    nodeName: name,
    atMs: clock.now(),
    machine: machineUsage(),
    containers: containers.toSorted(byPlace),
  };
}

/** Undefined for a container that no deployment owns. */
function containerView({ labels, atMs: _atMs, ...usage }: ContainerUsage): ContainerUsageView | undefined {
  const [namespace, name] = (labels[deploymentLabel] ?? "").split("/");
  const replica = Number(labels[replicaLabel]);
  if (namespace === undefined || name === undefined || !Number.isSafeInteger(replica)) return undefined;
  return { namespace, name, replica, container: labels[containerLabel] ?? mainContainerName, ...usage };
}

function byPlace(a: ContainerUsageView, b: ContainerUsageView): number {
  const key = (one: ContainerUsageView): string => `${one.namespace}/${one.name}`;
  if (key(a) !== key(b)) return key(a) < key(b) ? -1 : 1;
  return a.replica - b.replica || (a.container < b.container ? -1 : 1);
}

/** Of every node that answers in time; the others are named. */
export async function gatherUsage(
  peers: Peers,
  members: readonly MemberRecord[],
  own: () => Promise<NodeUsageView>,
): Promise<UsageView> {
  const unreachable: string[] = [];
  const ask = async ({ id, name, status }: MemberRecord): Promise<readonly NodeUsageView[]> => {
    if (status === "left") return [];
    if (id === peers.self) return [await own()];
    try {
      if (status === "dead") throw new Error("it is dead");
      const view: NodeUsageView = JSON.parse((await peers.call(id, methods.usage, {}, callTimeoutMs)).json);
      return [view];
    } catch {
      // Named in the answer: whoever asked sees what is missing.
      unreachable.push(name);
      return [];
    }
  };
  const nodes = (await Promise.all(members.map(ask))).flat();
  return {
    nodes: nodes.toSorted((a, b) => (a.nodeName < b.nodeName ? -1 : 1)),
    unreachable: unreachable.toSorted(),
  };
}
