/** Which deployment, or which replica of it, a command is about. */
import { namePattern } from "../manifest/fields.ts";
import type { DeploymentKey } from "../../node/node-api.ts";
import { usageFailure } from "./failure.ts";

export interface Target {
  readonly key: DeploymentKey;
  readonly replica: number | undefined;
}

/** `NAME`, or `NAMESPACE/NAME`, which comes before `--namespace`. */
export function deploymentTarget(text: string, namespace: string): DeploymentKey {
  const parts = text.split("/");
  const [first, second] = parts;
  const key = second === undefined ? { namespace, name: text } : { namespace: first ?? "", name: second };
  if (parts.length > 2 || !namePattern.test(key.name) || !namePattern.test(key.namespace))
    throw usageFailure(`${JSON.stringify(text)} names no deployment`, "use NAME, or NAMESPACE/NAME");
  return key;
}

/** As above, with `/REPLICA` behind it: a last part that is a number is a replica. */
export function replicaTarget(text: string, namespace: string): Target {
  const parts = text.split("/");
  const last = parts.at(-1) ?? "";
  if (parts.length < 2 || !/^\d{1,9}$/.test(last))
    return { key: deploymentTarget(text, namespace), replica: undefined };
  return { key: deploymentTarget(parts.slice(0, -1).join("/"), namespace), replica: Number(last) };
}
