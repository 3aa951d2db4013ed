/** The configuration file of `muster up`: the same settings as its flags, which come before it. */
import * as v from "valibot";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { Problem } from "../../model/problem.ts";
import { checkDocument, closedObject } from "../manifest/check.ts";
import { listOf, parsedText, textOf } from "../manifest/text-schemas.ts";
import { manifestProblem } from "../manifest/manifest.ts";
import { parsePortNumber } from "../manifest/fields.ts";
import { parseCpu, parseMemory } from "../manifest/quantity.ts";
import { readSource, type Fault } from "../manifest/source.ts";
import { parseAddress, parseLabel, parseNodeName, parseRegistry } from "./flags.ts";

const address = parsedText("an address such as 10.0.0.1:7440", parseAddress);
const label = (text: string): Outcome<string, string> => {
  const parsed = parseLabel(text);
  return parsed.ok ? ok(text) : parsed;
};

/** Every setting may be left out. */
const configSchema = closedObject({
  name: v.optional(parsedText("a name", parseNodeName)),
  zone: v.optional(parsedText("a zone", parseNodeName)),
  listen: v.optional(address),
  advertise: v.optional(address),
  join: v.optional(listOf("a list of addresses", address)),
  invite: v.optional(textOf("a token")),
  labels: v.optional(listOf("a list of key=value", parsedText("key=value", label))),
  cpu: v.optional(parsedText("an amount of CPU such as 2", parseCpu)),
  memory: v.optional(parsedText("an amount of memory such as 4Gi", parseMemory)),
  plainHttpRegistries: v.optional(listOf("a list of HOST:PORT", parsedText("HOST:PORT", parseRegistry))),
  cgroupParent: v.optional(textOf("a control group such as /muster")),
  apiPort: v.optional(parsedText("a port number", parsePortNumber)),
});

export type UpConfig = v.InferOutput<typeof configSchema>;

export function parseUpConfig(text: string, file: string): Outcome<UpConfig, Problem> {
  const { documents, faults } = readSource(text, file);
  if (faults.length > 0) return refused(problem(faults));
  const [document, second] = documents;
  if (second !== undefined)
    return refused(
      problem([{ ...second.place([], "value"), message: "a configuration file holds one document" }]),
    );
  if (document === undefined) return ok(v.parse(configSchema, {}));
  const config = checkDocument(configSchema, document);
  return config.ok ? config : refused(problem(config.error));
}

function problem(faults: readonly Fault[]): Problem {
  return {
    ...manifestProblem(faults),
    code: "invalid-request",
    next: "correct the places named above; docs/guide/cli.md lists the settings",
  };
}
