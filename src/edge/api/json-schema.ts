/**
 * JSON Schema (2020-12, as OpenAPI 3.1 has it) out of valibot's schemas: what they accept, before they transform it. Only the
 * kinds that the API uses are known; any other throws, so that a schema that cannot be told is found by the tests.
 * Rules that are functions are left out: the document then accepts more than the API does, never less.
 */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

/** Schemas that are written once, under their names, and referred to from everywhere else. */
export type NamedSchemas = ReadonlyMap<unknown, string>;

export function jsonSchemaOf(schema: unknown, named: NamedSchemas = new Map()): JsonSchema {
  const name = named.get(schema);
  return name === undefined ? convert(schema, named) : { $ref: `#/components/schemas/${name}` };
}

/** The schemas themselves, for the place that the references name. */
export function componentsOf(named: NamedSchemas): Readonly<Record<string, JsonSchema>> {
  return Object.fromEntries([...named].map(([schema, name]) => [name, convert(schema, named)]));
}

/** The fields of a closed object, as parameters of a query have them. */
export function fieldsOf(
  schema: unknown,
): readonly { readonly name: string; readonly required: boolean; readonly schema: JsonSchema }[] {
  const { properties = {}, required = [] } = asRecord(convert(schema, new Map()));
  const needed = Array.isArray(required) ? required : [];
  return Object.entries(asRecord(properties)).map(([name, value]) => ({
    name,
    required: needed.includes(name),
    schema: asRecord(value),
  }));
}

function convert(schema: unknown, named: NamedSchemas): JsonSchema {
  const pipe = property(schema, "pipe");
  return Array.isArray(pipe) ? convertPipe(pipe, named) : convertKind(schema, named);
}

function convertPipe([first, ...actions]: readonly unknown[], named: NamedSchemas): JsonSchema {
  let result = jsonSchemaOf(first, named);
  for (const action of actions) {
    const kind = property(action, "kind");
    if (kind === "transformation") return result;
    // A closed object asks first whether it is an object at all.
    if (kind === "schema") result = jsonSchemaOf(action, named);
    else result = { ...asRecord(result), ...restriction(action, asRecord(result)) };
  }
  return result;
}

function convertKind(schema: unknown, named: NamedSchemas): JsonSchema {
  const of = (key: string): JsonSchema => jsonSchemaOf(property(schema, key), named);
  const kind = property(schema, "type");
  switch (kind) {
    case "string":
    case "number":
    case "boolean":
    case "null":
      return { type: kind };
    case "literal":
      return { const: property(schema, "literal") };
    case "picklist":
      return { enum: property(schema, "options") };
    case "array":
      return { type: "array", items: of("item") };
    case "record":
      return { type: "object", additionalProperties: of("value") };
    case "object":
    case "strict_object":
    case "object_with_rest":
      return objectSchema(schema, kind, named);
    case "optional":
    case "exact_optional":
      return of("wrapped");
    case "nullable":
      return { anyOf: [of("wrapped"), { type: "null" }] };
    case "union":
    case "variant":
      return { anyOf: list(property(schema, "options")).map((option) => jsonSchemaOf(option, named)) };
    case "custom":
    case "unknown":
    case "any":
      return {};
    case "never":
      return false;
    default:
      throw new Error(`no JSON Schema is known for ${String(kind)}`);
  }
}

function objectSchema(schema: unknown, kind: string, named: NamedSchemas): JsonSchema {
  const entries = Object.entries(asRecord(property(schema, "entries")));
  const isOptional = (entry: unknown): boolean =>
    ["optional", "exact_optional"].includes(String(property(entry, "type")));
  const properties = entries.map(([name, entry]) => {
    const value = property(entry, "default");
    const converted = jsonSchemaOf(entry, named);
    return [name, value === undefined ? converted : { ...asRecord(converted), default: value }];
  });
  const required = entries.filter(([, entry]) => !isOptional(entry)).map(([name]) => name);
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    ...(required.length === 0 ? {} : { required }),
    ...(kind === "object"
      ? {}
      : {
          additionalProperties:
            kind === "strict_object" ? false : jsonSchemaOf(property(schema, "rest"), named),
        }),
  };
}

function restriction(action: unknown, { type }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const requirement = property(action, "requirement");
  const length = type === "array" ? "Items" : "Length";
  const kind = property(action, "type");
  switch (kind) {
    case "regex":
      return { pattern: requirement instanceof RegExp ? requirement.source : "" };
    case "starts_with":
      return { pattern: `^${String(requirement).replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")}` };
    case "min_value":
      return { minimum: requirement };
    case "max_value":
      return { maximum: requirement };
    case "min_length":
      return { [`min${length}`]: requirement };
    case "max_length":
      return { [`max${length}`]: requirement };
    case "integer":
    case "safe_integer":
      return { type: "integer" };
    case "description":
      return { description: property(action, "description") };
    case "check":
    case "raw_check":
    case "partial_check":
    case "finite":
    case "metadata":
      return {};
    default:
      throw new Error(`no JSON Schema is known for the rule ${String(kind)}`);
  }
}

function property(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
