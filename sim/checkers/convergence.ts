/** What must come true once the faults have ended. */
import type { Intent } from "../workloads/intent.ts";
import type { World } from "../world/world.ts";

/** Why the fleet is not as declared; undefined when it is. */
export function difference(world: World, intents: readonly Intent[]): string | undefined {
  const wanted = new Map(intents.map((intent) => [intent.name, intent]));
  const counts = new Map<string, number>();
  for (const { deployment, replica, node, promise } of world.running()) {
    const name = deployment.slice(deployment.indexOf("/") + 1);
    const intent = wanted.get(name);
    if (intent === undefined) return `${deployment} runs on ${node.name} and was never declared`;
    if (!intent.possible().some(({ replicas }) => replica < replicas))
      return `${name}/${replica} is surplus on ${node.name} (${promise})`;
    const key = `${name}/${replica}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (counts.get(key) !== 1) return `${key} runs ${counts.get(key)} times`;
  }
  for (const intent of intents) {
    const running = [...counts.keys()].filter((key) => key.startsWith(`${intent.name}/`)).length;
    if (!intent.possible().some(({ replicas }) => replicas === running)) {
      return `${intent.name} runs ${running}, wanted ${intent
        .possible()
        .map(({ replicas }) => replicas)
        .join(" or ")}`;
    }
  }
  return undefined;
}

/** Marks that move when anything goes on: log positions, containers, books. */
export function activity(world: World): string {
  const marks: string[] = [];
  for (const node of world.live) {
    for (const group of node.agent?.cohorts() ?? [])
      marks.push(`${node.name} ${group.id} ${group.state?.index}`);
    for (const { spec, status } of node.machine.all()) marks.push(`${node.name} ${spec.id} ${status.phase}`);
    for (const { promise } of node.agent?.bookSummary().lines ?? []) marks.push(`${node.name} ${promise}`);
  }
  return marks.sort().join("\n");
}
