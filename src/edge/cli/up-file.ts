/** The settings file of `muster up`. Loaded only where there is one: its parser weighs more than all settings. */
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { Problem } from "../../model/problem.ts";
import { checkDocument } from "../manifest/check.ts";
import { manifestProblem } from "../manifest/manifest.ts";
import { readSource, type Fault } from "../manifest/source.ts";
import { configSchema, type UpConfig } from "./up-config.ts";

export function parseUpConfig(text: string, file: string): Outcome<UpConfig, Problem> {
  const { documents, faults } = readSource(text, file);
  if (faults.length > 0) return refused(problem(faults));
  const [document, second] = documents;
  if (second !== undefined)
    return refused(
      problem([{ ...second.place([], "value"), message: "a configuration file holds one document" }]),
    );
  if (document === undefined) return ok({});
  const config = checkDocument(configSchema, document);
  if (!config.ok) return refused(problem(config.error));
  if (config.value.invite !== undefined && config.value.inviteFile !== undefined)
    return refused(
      problem([{ ...document.place(["inviteFile"], "key"), message: "an invite is given beside its file" }]),
    );
  return ok(config.value);
}

function problem(faults: readonly Fault[]): Problem {
  return {
    ...manifestProblem(faults),
    code: "invalid-request",
    next: "correct the places named above; docs/guide/cli.md lists the settings",
  };
}
