/** The two ends of a copy as they stand on the command line. */
import type { Target } from "./target.ts";
import { usageFailure } from "./failure.ts";
import { replicaTarget } from "./target.ts";

export type CopyPlace =
  | { readonly kind: "container"; readonly target: Target; readonly path: string }
  | { readonly kind: "local"; readonly path: string }
  /** An archive on standard input or output. */
  | { readonly kind: "archive" };

/** `NAME[/REPLICA]:PATH`, a local path, or `-`. A local path with a colon has a `/` or `.` in front. */
export function parseCopyPlace(text: string, namespace: string): CopyPlace {
  if (text === "-") return { kind: "archive" };
  const colon = text.indexOf(":");
  if (colon <= 0 || text.startsWith("/") || text.startsWith(".")) return { kind: "local", path: text };
  const path = text.slice(colon + 1);
  if (path === "") throw usageFailure(`${JSON.stringify(text)} names no path`, "use NAME/REPLICA:PATH");
  const target = replicaTarget(text.slice(0, colon), namespace);
  return { kind: "container", target, path: path.startsWith("/") ? path : `/${path}` };
}
