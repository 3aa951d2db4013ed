/** Manifest files to deployment specs: all of them, or one problem that names every fault of every file. */
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { Place, Problem } from "../../model/problem.ts";
import { deploymentName, type DeploymentSpec } from "../../model/spec.ts";
import { checkWhole } from "./check.ts";
import { deploymentSchema } from "./deployment-schema.ts";
import { mended } from "./mended.ts";
import { specBytesMax } from "./fields.ts";
import { readSource, type Fault, type SourceDocument } from "./source.ts";

export interface ManifestFile {
  /** As the user named it; undefined for text without a file. */
  readonly file?: string;
  readonly text: string;
}

/** Known by what stands at their top. */
const otherFormats = [
  { keys: ["apiVersion", "kind"], format: "Kubernetes manifest" },
  { keys: ["services"], format: "Compose file" },
] as const;

/** Faults that a problem lists before it only counts them. */
const faultsShownMax = 50;

/** `namespace` is that of deployments that name none. */
export function parseManifests(
  files: readonly ManifestFile[],
  namespace: string,
): Outcome<readonly DeploymentSpec[], Problem> {
  const specs: DeploymentSpec[] = [];
  const faults: Fault[] = [];
  const seen = new Map<string, Place>();
  for (const { file, text } of files) {
    const source = readSource(text, file);
    faults.push(...source.faults);
    if (source.documents.length === 0 && source.faults.length === 0)
      faults.push({
        ...(file === undefined ? {} : { file }),
        line: 1,
        column: 1,
        message: "there is no deployment in this file",
      });
    for (const document of source.documents) {
      const spec = parseDocument(document, namespace);
      if (!spec.ok) {
        faults.push(...spec.error);
        continue;
      }
      const name = deploymentName(spec.value);
      const place = document.place(["name"], "value");
      const first = seen.get(name);
      if (first !== undefined)
        faults.push({
          ...place,
          message: `${name} is declared a second time, first at ${formatPlace(first)}`,
        });
      seen.set(name, first ?? place);
      specs.push(spec.value);
    }
  }
  return faults.length === 0 ? ok(specs) : refused(manifestProblem(faults));
}

function parseDocument(
  document: SourceDocument,
  namespace: string,
): Outcome<DeploymentSpec, readonly Fault[]> {
  const { value } = document;
  for (const { keys, format } of otherFormats)
    if (typeof value === "object" && value !== null && keys.every((key) => key in value))
      return refused([
        {
          ...document.place([keys[0]], "key"),
          message: `this is a ${format}, which is not supported; write a Muster manifest`,
        },
      ]);
  const spec = checkWhole(deploymentSchema(namespace), document, mended);
  if (spec.ok && Buffer.byteLength(JSON.stringify(spec.value)) > specBytesMax)
    return refused([
      { ...document.place([], "value"), message: `the spec is larger than ${specBytesMax / 1024} KiB` },
    ]);
  return spec;
}

/** `web.yaml:3:5`. */
export function formatPlace(place: Place): string {
  return [place.file ?? "-", place.line, place.column].filter((part) => part !== undefined).join(":");
}

export function manifestProblem(faults: readonly Fault[]): Problem {
  const files = [...new Set(faults.map((fault) => fault.file).filter((file) => file !== undefined))];
  const where = files.length === 1 ? ` in ${files[0] ?? ""}` : "";
  const count = faults.length === 1 ? "1 error" : `${faults.length} errors`;
  return {
    code: "invalid-spec",
    message: `${count}${where}; nothing was changed`,
    places: faults.toSorted(byPlace).slice(0, faultsShownMax),
    next: "correct the places named above; muster explain describes every field",
  };
}

/** By file name, line and column; faults of one place keep their order. */
function byPlace(a: Fault, b: Fault): number {
  if (a.file !== b.file) return (a.file ?? "") < (b.file ?? "") ? -1 : 1;
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}
