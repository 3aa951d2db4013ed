import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { singleContainer } from "../../model/template.ts";
import { MusterClient } from "../client/muster-client.ts";
import { AnswerCheck, operationOf, schemaFaults } from "./answer-check.ts";
import { FakeNodeApi } from "./fake-node-api.ts";
import { jsonSchemaOf } from "./json-schema.ts";
import { openApiDocument, type ApiDocument } from "./openapi.ts";
import { RequestMeter } from "./request-meter.ts";
import { routeDocs } from "./route-docs.ts";
import { createRoutes, routeNames } from "./routes.ts";
import { createApi, type Api } from "./server.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-openapi-"));
const unix = join(directory, "api.sock");
const node = new FakeNodeApi();
const client = new MusterClient(unix);
const key = { namespace: "default", name: "web" };
const spec = { ...key, replicas: 2, template: singleContainer({ image: "busybox:1" }) };
let api: Api;
let document: ApiDocument;

beforeAll(async () => {
  api = await createApi(node, { socketPath: unix });
  document = JSON.parse(await (await fetch("http://muster/v1/openapi.json", { unix })).text());
  await client.declare(spec, { createOnly: true });
});
afterAll(async () => {
  await api.close(0);
  rmSync(directory, { recursive: true });
});

describe("the document", () => {
  test("every route is in it, and it describes none that is not there", () => {
    const names = routeNames(createRoutes(node, () => undefined, new RequestMeter()));
    expect(names.length).toBeGreaterThan(20);
    expect(Object.keys(routeDocs).toSorted()).toEqual(names.toSorted());
    for (const name of names) {
      const [method = "", path = ""] = name.split(" ");
      expect([name, operationOf(document, method, path.replaceAll(":", ""))?.summary]).toEqual([
        name,
        routeDocs[name]?.summary,
      ]);
    }
  });

  test("a route that nobody described is found out", () => {
    expect(() => openApiDocument(["GET /v1/new"], "1")).toThrow("GET /v1/new is not in route-docs.ts");
  });

  test("operations have ids of their own, paths declare their parameters, references lead somewhere", () => {
    expect(document.openapi).toBe("3.1.0");
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.values(methods).map((operation) => ({ path, operation })),
    );
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of operations) {
      const declared = (operation.parameters ?? [])
        .filter((one) => one.in === "path")
        .map(({ name }) => name);
      expect([path, declared]).toEqual([path, [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name)]);
    }
    const references = JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g);
    const names = new Set([...references].map(([, name = ""]) => name));
    expect([...names].filter((name) => document.components.schemas[name] === undefined)).toEqual([]);
    expect(names.has("DeploymentSpec")).toBe(true);
  });

  test("a body's schema takes what the API takes, and refuses what is plainly wrong", () => {
    const operation = operationOf(document, "PUT", "/v1/deployments/a/b");
    const schema = operation?.requestBody?.content["application/json"]?.schema;
    expect(schemaFaults(schema, spec, document)).toEqual([]);
    const wrong = [
      { ...spec, replicas: -1 },
      { ...spec, replicas: 1.5 },
      { ...spec, extra: 1 },
      { ...spec, name: "No Name" },
      { ...spec, template: { ...spec.template, containers: [] } },
      { ...spec, template: { ...spec.template, restart: "sometimes" } },
    ];
    for (const body of wrong) expect(schemaFaults(schema, body, document).length).toBeGreaterThan(0);
  });

  test("a query's parameters are those of its schema", () => {
    const { parameters = [] } = operationOf(document, "GET", "/v1/deployments/a/b/files") ?? {};
    expect(
      parameters.filter((one) => one.in === "query").map(({ name, required }) => [name, required]),
    ).toEqual([
      ["replica", false],
      ["container", false],
      ["path", true],
    ]);
  });

  test("a kind of schema that cannot be told is found out", () => {
    expect(() => jsonSchemaOf(v.bigint())).toThrow("bigint");
    expect(() => jsonSchemaOf(v.pipe(v.string(), v.email()))).toThrow("email");
  });
});

describe("answers", () => {
  test("are as the document says, each of them", async () => {
    const check = new AnswerCheck(document);
    const end = check.install();
    try {
      await client.status();
      await client.nodes();
      await client.invite(60_000);
      await client.promises("fleet");
      await client.deployments(undefined);
      await client.inspect(key);
      await client.cohort(key);
      await client.scale(key, 2);
      await client.down(true);
      for (const path of ["/v1/usage", "/v1/images"])
        expect((await fetch(`http://muster${path}`, { unix })).status).toBe(200);
      await client.inspect({ namespace: "default", name: "gone" }).catch(() => {});
    } finally {
      end();
    }
    expect(check.faults).toEqual([]);
    expect([...check.seen].toSorted()).toEqual([
      "get-v1-deployments 200",
      "get-v1-deployments-namespace-name 200",
      "get-v1-deployments-namespace-name 404",
      "get-v1-deployments-namespace-name-cohort 200",
      "get-v1-images 200",
      "get-v1-nodes 200",
      "get-v1-promises 200",
      "get-v1-status 200",
      "get-v1-usage 200",
      "post-v1-down 200",
      "post-v1-invites 201",
      "put-v1-deployments-namespace-name-scale 200",
    ]);
  });

  test("of streams are as the document says, each value", async () => {
    const schemaOf = (path: string, type: string) =>
      operationOf(document, "GET", path)?.responses["200"]?.content?.[type]?.schema;
    const logs = await (await fetch("http://muster/v1/deployments/default/web/logs", { unix })).text();
    const lines = logs.trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(1);
    const logSchema = schemaOf("/v1/deployments/default/web/logs", "application/x-ndjson");
    for (const line of lines) expect(schemaFaults(logSchema, JSON.parse(line), document)).toEqual([]);
    const events = await (await fetch("http://muster/v1/deployments/default/web/events", { unix })).text();
    const data = [...events.matchAll(/^data: (.*)$/gm)].map(([, json = ""]) => json);
    expect(data.length).toBeGreaterThan(0);
    const eventSchema = schemaOf("/v1/deployments/default/web/events", "text/event-stream");
    for (const json of data) expect(schemaFaults(eventSchema, JSON.parse(json), document)).toEqual([]);
  });

  test("that are not as the document says are found out", async () => {
    const check = new AnswerCheck(document);
    const lie = Response.json({ ...node.status(), uptimeMs: "long", secret: 1, name: undefined });
    await check.look("GET", "http://muster/v1/status", lie);
    expect(check.faults.map((fault) => fault.replace(/^.*? 200: /, ""))).toEqual([
      '$.uptimeMs: "long" breaks type "integer"',
      "$: name is missing",
      "$.secret: nothing is allowed here",
    ]);
  });
});
