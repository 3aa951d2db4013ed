/**
 * A restart is an update to a template that differs in one label only: replicas are replaced one by one, and it stops where a
 * replacement does not run. Manifests do not carry the label; what is applied later keeps it, so that applying an
 * unchanged manifest changes nothing.
 */
import { ProblemError } from "../../model/problem.ts";
import type { DeploymentSpec } from "../../model/spec.ts";
import type { MusterClient } from "../client/muster-client.ts";

export const restartLabel = "muster.restarted";

/** Restarted at a time that no earlier restart had. */
export function markedAsRestarted(spec: DeploymentSpec, nowMs: number): DeploymentSpec {
  const before = spec.template.labels[restartLabel];
  const now = new Date(nowMs).toISOString();
  return withMark(spec, before !== undefined && before >= now ? `${before}+` : now);
}

/** A declaration with the mark that the deployment has, where it has one and the declaration says nothing of it. */
export async function withMarkOfBefore(client: MusterClient, spec: DeploymentSpec): Promise<DeploymentSpec> {
  if (spec.template.labels[restartLabel] !== undefined) return spec;
  try {
    return withMarkOf((await client.inspect(spec)).spec, spec);
  } catch (error) {
    // What is wrong with the deployment, the declaration itself will find out.
    if (error instanceof ProblemError) return spec;
    throw error;
  }
}

/** The same, where it is known what the deployment is. */
export function withMarkOf(before: DeploymentSpec, spec: DeploymentSpec): DeploymentSpec {
  const mark = before.template.labels[restartLabel];
  return mark === undefined || spec.template.labels[restartLabel] !== undefined ? spec : withMark(spec, mark);
}

/** As a manifest would declare it. */
export function withoutMark(spec: DeploymentSpec): DeploymentSpec {
  const { [restartLabel]: _mark, ...labels } = spec.template.labels;
  return { ...spec, template: { ...spec.template, labels } };
}

function withMark(spec: DeploymentSpec, mark: string): DeploymentSpec {
  const { template } = spec;
  // Sorted as manifests sort theirs: the same labels give one hash.
  const labels = Object.entries({ ...template.labels, [restartLabel]: mark }).toSorted(([a], [b]) =>
    a < b ? -1 : 1,
  );
  return { ...spec, template: { ...template, labels: Object.fromEntries(labels) } };
}
