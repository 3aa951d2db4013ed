/** For tests: holds what the API answers against its own document. */
import type { ApiDocument, Operation } from "./openapi.ts";

/** Every place where a value is not as its schema says; of JSON Schema as much as the document uses, and any other keyword is a fault. */
export function schemaFaults(schema: unknown, value: unknown, document: ApiDocument, at = "$"): string[] {
  if (schema === true) return [];
  if (schema === false) return [`${at}: nothing is allowed here`];
  const faults: string[] = [];
  for (const [keyword, rule] of Object.entries(recordOf(schema)))
    faults.push(...keywordFaults({ keyword, rule, schema: recordOf(schema), value, document, at }));
  return faults;
}

interface Rule {
  readonly keyword: string;
  readonly rule: unknown;
  readonly schema: Readonly<Record<string, unknown>>;
  readonly value: unknown;
  readonly document: ApiDocument;
  readonly at: string;
}

function keywordFaults({ keyword, rule, schema, value, document, at }: Rule): string[] {
  const wrong = (isRight: boolean): string[] =>
    isRight
      ? []
      : [`${at}: ${JSON.stringify(value)?.slice(0, 80)} breaks ${keyword} ${JSON.stringify(rule)}`];
  const text = typeof value === "string" ? value : undefined;
  const number = typeof value === "number" ? value : undefined;
  switch (keyword) {
    case "$ref":
      return schemaFaults(
        document.components.schemas[String(rule).split("/").at(-1) ?? ""] ?? false,
        value,
        document,
        at,
      );
    case "type":
      return wrong(rule === typeOf(value) || (rule === "number" && number !== undefined));
    case "const":
      return wrong(value === rule);
    case "enum":
      return wrong(Array.isArray(rule) && rule.includes(value));
    case "anyOf":
      return wrong(
        Array.isArray(rule) && rule.some((one) => schemaFaults(one, value, document, at).length === 0),
      );
    case "pattern":
      return wrong(text === undefined || new RegExp(String(rule)).test(text));
    case "minimum":
      return wrong(number === undefined || number >= Number(rule));
    case "maximum":
      return wrong(number === undefined || number <= Number(rule));
    case "minLength":
      return wrong(text === undefined || text.length >= Number(rule));
    case "maxLength":
      return wrong(text === undefined || text.length <= Number(rule));
    case "minItems":
      return wrong(!Array.isArray(value) || value.length >= Number(rule));
    case "maxItems":
      return wrong(!Array.isArray(value) || value.length <= Number(rule));
    case "items":
      if (!Array.isArray(value)) return [];
      return value.flatMap((item, index) => schemaFaults(rule, item, document, `${at}[${index}]`));
    case "required":
      return Array.isArray(rule)
        ? rule.filter((name) => !(name in recordOf(value))).map((name) => `${at}: ${name} is missing`)
        : [];
    case "properties":
      return Object.entries(recordOf(rule)).flatMap(([name, one]) =>
        name in recordOf(value) ? schemaFaults(one, recordOf(value)[name], document, `${at}.${name}`) : [],
      );
    case "additionalProperties":
      return Object.entries(recordOf(value)).flatMap(([name, one]) =>
        name in recordOf(schema["properties"]) ? [] : schemaFaults(rule, one, document, `${at}.${name}`),
      );
    case "default":
    case "description":
      return [];
    default:
      return [`${at}: the document uses ${keyword}, which nobody checks`];
  }
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return Number.isSafeInteger(value) ? "integer" : typeof value;
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** The operation that a request is for. */
export function operationOf(document: ApiDocument, method: string, path: string): Operation | undefined {
  // Without parameters comes first, as in the server.
  const patterns = Object.keys(document.paths).toSorted((a, b) => a.split("{").length - b.split("{").length);
  const found = patterns.find((pattern) =>
    new RegExp(`^${pattern.replace(/\{\w+\}/g, "[^/]+")}$`).test(path),
  );
  return found === undefined ? undefined : document.paths[found]?.[method.toLowerCase()];
}

/** Looks into every JSON answer that passes, without taking anything from its reader. */
export class AnswerCheck {
  readonly #document: ApiDocument;
  readonly faults: string[] = [];
  /** Operations whose answers were looked at, as `operationId status`. */
  readonly seen = new Set<string>();

  constructor(document: ApiDocument) {
    this.#document = document;
  }

  async look(method: string, url: string, response: Response): Promise<void> {
    const { pathname } = new URL(url);
    const operation = operationOf(this.#document, method, pathname);
    const type = response.headers.get("content-type") ?? "";
    if (operation === undefined || !type.startsWith("application/json")) return;
    const answer = operation.responses[response.status] ?? operation.responses["default"];
    const schema = answer?.content?.["application/json"]?.schema ?? true;
    const value: unknown = JSON.parse(await response.clone().text());
    this.seen.add(`${operation.operationId} ${response.status}`);
    this.faults.push(
      ...schemaFaults(schema, value, this.#document).map(
        (fault) => `${method} ${pathname} ${response.status}: ${fault}`,
      ),
    );
  }

  /** From here on every `fetch` is looked at; the returned function ends that. */
  install(): () => void {
    const plain = globalThis.fetch;
    const looking = async (...given: Parameters<typeof fetch>): Promise<Response> => {
      const response = await plain(...given);
      const [input, init] = given;
      await this.look(init?.method ?? "GET", input instanceof Request ? input.url : String(input), response);
      return response;
    };
    globalThis.fetch = Object.assign(looking, { preconnect: plain.preconnect });
    return () => void (globalThis.fetch = plain);
  }
}
