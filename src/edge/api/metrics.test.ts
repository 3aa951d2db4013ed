import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeNodeApi } from "./fake-node-api.ts";
import { metricsText } from "./metrics-text.ts";
import { createApi, type Api } from "./server.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-metrics-"));
const unix = join(directory, "api.sock");
let api: Api;

beforeAll(async () => {
  api = await createApi(new FakeNodeApi(), { socketPath: unix, metrics: { hostname: "127.0.0.1", port: 0 } });
});
afterAll(async () => {
  await api.close(0);
  rmSync(directory, { recursive: true });
});

test("a family is its help, its type and its samples, with everything escaped", () => {
  expect(
    metricsText([
      {
        type: "counter",
        name: "a_total",
        help: "One\\two\nthree.",
        samples: [
          { labels: {}, value: 1.5 },
          { labels: { x: 'q"\\\n', y: "" }, value: 0 },
        ],
      },
      {
        type: "histogram",
        name: "b_seconds",
        help: "B.",
        samples: [{ labels: { r: "1" }, buckets: [{ le: 0.5, count: 2 }], count: 3, sum: 9 }],
      },
    ]),
  ).toBe(
    [
      "# HELP a_total One\\\\two\\nthree.",
      "# TYPE a_total counter",
      "a_total 1.5",
      'a_total{x="q\\"\\\\\\n",y=""} 0',
      "# HELP b_seconds B.",
      "# TYPE b_seconds histogram",
      'b_seconds_bucket{r="1",le="0.5"} 2',
      'b_seconds_bucket{r="1",le="+Inf"} 3',
      'b_seconds_sum{r="1"} 9',
      'b_seconds_count{r="1"} 3',
      "",
    ].join("\n"),
  );
});

test("requests are counted by route, never by what was asked for", async () => {
  for (const path of [
    "/v1/status",
    "/v1/deployments/default/a",
    "/v1/deployments/default/b",
    "/v1/x",
    "/v1/y",
  ])
    await (await fetch(`http://muster${path}`, { unix })).text();
  const response = await fetch("http://muster/metrics", { unix });
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const lines = (await response.text()).split("\n");
  expect(lines.filter((line) => line.startsWith("muster_api_requests_total"))).toEqual([
    'muster_api_requests_total{method="GET",route="/v1/status",status="200"} 1',
    'muster_api_requests_total{method="GET",route="/v1/deployments/:namespace/:name",status="404"} 2',
    'muster_api_requests_total{method="any",route="none",status="404"} 2',
  ]);
  expect(lines).toContain(
    'muster_api_request_duration_seconds_count{method="GET",route="/v1/deployments/:namespace/:name"} 2',
  );
});

test("a listener for metrics serves metrics and nothing else", async () => {
  const url = `http://127.0.0.1:${api.metricsPort}`;
  expect(await (await fetch(`${url}/metrics`)).text()).toContain("muster_build_info{");
  for (const [method, path] of [
    ["GET", "/v1/status"],
    ["POST", "/v1/down"],
    ["POST", "/metrics"],
  ] as const)
    expect([path, (await fetch(`${url}${path}`, { method })).status]).toEqual([path, 404]);
});
