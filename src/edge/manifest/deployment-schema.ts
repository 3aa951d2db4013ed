/**
 * Muster's own manifest format. Scalars arrive as the text the user wrote (see source.ts), so each
 * field says what its text has to be.
 */
import * as v from "valibot";
import type { Outcome } from "../../model/outcome.ts";
import type { DeploymentSpec, PortSpec } from "../../model/spec.ts";
import { closedObject, describe } from "./check.ts";
import {
  envNamePattern,
  listLengthMax,
  parseEnvLine,
  parseImage,
  parseName,
  parsePort,
  parsePortNumber,
  parseReplicas,
  publishedTwice,
  sortedEnv,
  stopTimeoutMsMax,
  textLengthMax,
} from "./fields.ts";
import { parseCpu, parseMemory, parseSpan } from "./quantity.ts";
import { containerResourcesDefault, singleContainer, stopTimeoutMsDefault } from "../../model/template.ts";

function expected(what: string) {
  return (issue: v.BaseIssue<unknown>): string => `expected ${what}, found ${describe(issue.input)}`;
}

export function textOf(what: string) {
  return v.pipe(
    v.string(expected(what)),
    v.maxLength(textLengthMax, `longer than ${textLengthMax} characters`),
    v.check((text) => !text.includes("\0"), "holds a NUL character"),
  );
}

/** Text that `parse` turns into a value; `what` says what is expected when it is no text at all. */
export function parsedText<T>(what: string, parse: (text: string) => Outcome<T, string>) {
  return v.pipe(
    textOf(what),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      const outcome = parse(dataset.value);
      if (outcome.ok) return outcome.value;
      addIssue({ message: `${describe(dataset.value)} ${outcome.error}` });
      return NEVER;
    }),
  );
}

function choice<const Options extends readonly string[]>(options: Options) {
  const list = `${options.slice(0, -1).join(", ")} or ${options.at(-1) ?? ""}`;
  return v.picklist(options, expected(list));
}

export function listOf<const Item extends v.GenericSchema>(what: string, item: Item) {
  return v.pipe(
    v.array(item, expected(what)),
    v.maxLength(listLengthMax, `more than ${listLengthMax} items`),
  );
}

const programText = textOf("text");
const programSchema = listOf('a list of texts such as [sleep, "60"]', programText);

const envSchema = v.pipe(
  v.union(
    [v.array(v.unknown()), v.record(v.string(), v.unknown())],
    expected("a map, or a list of NAME=value"),
  ),
  v.rawTransform<unknown[] | Record<string, unknown>, Readonly<Record<string, string>>>(
    ({ dataset, addIssue }) => {
      const values = new Map<string, string>();
      const input = dataset.value;
      const fail = (key: string | number, value: unknown, message: string): void => {
        addIssue({ message, input: value, path: [envItem(input, key, value)] });
      };
      const add = (name: string, value: string, key: string | number): void => {
        if (values.has(name)) fail(key, value, `${name} is set a second time`);
        else if (value.length > textLengthMax) fail(key, value, `longer than ${textLengthMax} characters`);
        else if (value.includes("\0")) fail(key, value, "holds a NUL character");
        else values.set(name, value);
      };
      if (Array.isArray(input)) {
        input.forEach((line, index) => {
          const parsed = typeof line === "string" ? parseEnvLine(line) : undefined;
          if (parsed === undefined) fail(index, line, `expected NAME=value, found ${describe(line)}`);
          else if (parsed.ok) add(parsed.value[0], parsed.value[1], index);
          else fail(index, line, `${describe(line)} ${parsed.error}`);
        });
      } else
        for (const [name, value] of Object.entries(input)) {
          if (!envNamePattern.test(name)) fail(name, value, `${describe(name)} is no name of a variable`);
          else if (value === null) add(name, "", name);
          else if (typeof value === "string") add(name, value, name);
          else fail(name, value, `expected text, found ${describe(value)}`);
        }
      return sortedEnv(values);
    },
  ),
);

function envItem(
  input: Record<string, unknown> | unknown[],
  key: string | number,
  value: unknown,
): v.IssuePathItem {
  if (Array.isArray(input)) return { type: "array", origin: "value", input, key: Number(key), value };
  return { type: "object", origin: "value", input, key: String(key), value };
}

const portNumber = parsedText("a port number", parsePortNumber);

const portObject = v.pipe(
  closedObject({
    container: portNumber,
    published: v.optional(portNumber),
    protocol: v.optional(choice(["tcp", "udp"]), "tcp"),
  }),
  v.transform(({ container, published, protocol }): PortSpec =>
    published === undefined ? { container, protocol } : { container, published, protocol },
  ),
);

const portSchema = v.lazy((input) =>
  typeof input === "string" ? parsedText("a port", parsePort) : portObject,
);

const portsSchema = v.pipe(
  listOf("a list of ports", portSchema),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const { index, first } of publishedTwice(dataset.value))
      addIssue({
        message: `publishes the same port as ports[${first}]`,
        path: [
          { type: "array", origin: "value", input: dataset.value, key: index, value: dataset.value[index] },
        ],
      });
  }),
);

const resourcesSchema = v.pipe(
  closedObject({
    cpu: v.optional(parsedText("an amount of CPU such as 500m", parseCpu), "0"),
    memory: v.optional(parsedText("an amount of memory such as 64Mi", parseMemory), "0"),
  }),
  v.transform(({ cpu, memory }) => ({ cpuMillis: cpu, memoryBytes: memory })),
);

const stopTimeoutSchema = v.pipe(
  parsedText("a span of time such as 10s", parseSpan),
  v.maxValue(stopTimeoutMsMax, "longer than an hour"),
);

/** `namespace` is that of a deployment that names none. */
export const deploymentSchema = (namespace: string) =>
  v.pipe(
    closedObject({
      name: parsedText("a name", parseName),
      namespace: v.optional(parsedText("a namespace", parseName), namespace),
      replicas: v.optional(parsedText("a whole number", parseReplicas), "1"),
      image: parsedText("an image reference", parseImage),
      entrypoint: v.optional(programSchema),
      command: v.optional(programSchema),
      env: v.optional(envSchema, {}),
      resources: v.optional(resourcesSchema, {}),
      ports: v.optional(portsSchema, []),
      restart: v.optional(choice(["always", "on-failure", "never"]), "always"),
      stopTimeout: v.optional(stopTimeoutSchema, `${stopTimeoutMsDefault}ms`),
    }),
    v.transform((fields): DeploymentSpec => {
      const template = singleContainer(
        {
          image: fields.image,
          ...(fields.entrypoint === undefined ? {} : { entrypoint: fields.entrypoint }),
          ...(fields.command === undefined ? {} : { command: fields.command }),
          env: fields.env,
          resources: { ...containerResourcesDefault, ...fields.resources },
          ports: fields.ports,
        },
        { restart: fields.restart, stopTimeoutMs: fields.stopTimeout },
      );
      return { namespace: fields.namespace, name: fields.name, replicas: fields.replicas, template };
    }),
  );
