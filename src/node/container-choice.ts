/** Which container of a replica a request is about. */
import type { Problem } from "../model/problem.ts";
import type { DeploymentView } from "../model/views.ts";

/** The refusal of a name that no container of the deployment has; undefined when it has one, or none was asked for. */
export function unknownContainer(
  { namespace, name, spec }: DeploymentView,
  container: string | undefined,
): Problem | undefined {
  const { containers, initContainers } = spec.template;
  const names = [...containers, ...initContainers].map((one) => one.name);
  if (container === undefined || names.includes(container)) return undefined;
  const message = `${namespace}/${name} has no container ${container}; its containers: ${names.join(", ")}`;
  return { code: "not-found", message };
}
