/** The API's own document, OpenAPI 3.1: made of the table of routes and of the schemas that its routes check with. */
import * as answers from "./answers.ts";
import { specSchema } from "./bodies.ts";
import { componentsOf, fieldsOf, jsonSchemaOf, type JsonSchema, type NamedSchemas } from "./json-schema.ts";
import { routeDocs, type AnswerDoc, type HeaderDoc, type RouteDoc } from "./route-docs.ts";
import { templateSchema } from "./template-body.ts";

/** Written once in the document. */
const named: NamedSchemas = new Map<unknown, string>([
  [specSchema, "DeploymentSpec"],
  [templateSchema, "ReplicaTemplate"],
  [answers.problemAnswer, "Problem"],
  [answers.deploymentAnswer, "Deployment"],
  [answers.writeAnswer, "Write"],
]);

export interface ApiDocument {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

export interface Operation {
  readonly summary: string;
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required: true; readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Content }>>;
}

interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required: boolean;
  readonly description?: string;
  readonly schema: JsonSchema;
}

type Content = Readonly<Record<string, { readonly schema?: JsonSchema }>>;

/** `routes` as `METHOD /path/:parameter`. Throws for one that nobody has described. */
export function openApiDocument(routes: readonly string[], version: string): ApiDocument {
  const paths: Record<string, Record<string, Operation>> = {};
  for (const route of routes) {
    const [method = "", path = ""] = route.split(" ");
    const doc = routeDocs[route];
    if (doc === undefined) throw new Error(`${route} is not in route-docs.ts`);
    const written = path.replace(/:(\w+)/g, "{$1}");
    paths[written] = { ...paths[written], [method.toLowerCase()]: operation(method, path, doc) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Muster",
      version,
      description:
        "Every node serves it on its unix socket, and any node answers any request. docs/guide/api.md tells it in words.",
    },
    paths,
    components: { schemas: componentsOf(named) },
  };
}

function operation(method: string, path: string, doc: RouteDoc): Operation {
  const parameters: readonly Parameter[] = [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name = ""]): Parameter => ({
      name,
      in: "path",
      required: true,
      schema: { type: "string" },
    })),
    ...(doc.query === undefined ? [] : fieldsOf(doc.query)).map((field): Parameter => ({
      ...field,
      in: "query",
    })),
    ...(doc.headers ?? []).map(headerParameter),
  ];
  return {
    summary: doc.summary,
    operationId: [method.toLowerCase(), ...path.split(/[/:]+/).filter((part) => part !== "")].join("-"),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(doc.body === undefined ? {} : { requestBody: { required: true, content: bodyContent(doc.body) } }),
    responses: {
      ...success(doc.answer),
      default: {
        description: "What is wrong, where, and what to do next; nothing was done.",
        content: { "application/json": { schema: jsonSchemaOf(answers.problemAnswer, named) } },
      },
    },
  };
}

function headerParameter({ name, description }: HeaderDoc): Parameter {
  return { name, in: "header", required: false, description, schema: { type: "string" } };
}

function bodyContent(body: unknown): Content {
  return typeof body === "string"
    ? { [body]: {} }
    : { "application/json": { schema: jsonSchemaOf(body, named) } };
}

function success(answer: AnswerDoc): Operation["responses"] {
  switch (answer.kind) {
    case "json":
      return {
        [answer.status]: {
          description: "Done.",
          content: { "application/json": { schema: jsonSchemaOf(answer.schema, named) } },
        },
      };
    case "lines":
      return {
        200: {
          description:
            'One JSON value a line, each of this schema; a failure on the way is a last line {"problem"}.',
          content: { "application/x-ndjson": { schema: jsonSchemaOf(answer.schema, named) } },
        },
      };
    case "events":
      return {
        200: {
          description:
            "Server-sent events whose data is of this schema; a failure is a last event named problem.",
          content: { "text/event-stream": { schema: jsonSchemaOf(answer.schema, named) } },
        },
      };
    case "bytes":
      return { 200: { description: "Done.", content: { [answer.type]: {} } } };
    case "websocket":
      return { 101: { description: "A WebSocket; docs/guide/api.md has its frames." } };
  }
}
