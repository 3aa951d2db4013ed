import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProblemError, type Problem, type ProblemCode } from "../../model/problem.ts";
import type { DeploymentSpec } from "../../model/spec.ts";
import { AgentUnreachable } from "../client/failures.ts";
import { MusterClient } from "../client/muster-client.ts";
import { AnswerCheck } from "./answer-check.ts";
import { FakeNodeApi } from "./fake-node-api.ts";
import { createApi, type Api } from "./server.ts";
import { containerResourcesDefault, singleContainer } from "../../model/template.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-api-"));
const socketPath = join(directory, "api.sock");
const node = new FakeNodeApi();
const client = new MusterClient(socketPath);
let api: Api;

const spec: DeploymentSpec = {
  namespace: "default",
  name: "web",
  replicas: 2,
  template: singleContainer({
    image: "busybox:1",
    command: ["sleep", "60"],
    env: { A: "1" },
    ports: [{ container: 80, published: 8080, protocol: "tcp" }],
    resources: { ...containerResourcesDefault, cpuMillis: 100, memoryBytes: 64 * 2 ** 20 },
  }),
};
const key = { namespace: "default", name: "web" };

let endCheck: () => void = () => {};
let check: AnswerCheck;

beforeAll(async () => {
  api = await createApi(node, { socketPath, loopback: { hostname: "127.0.0.1", port: 0 } });
  check = new AnswerCheck(JSON.parse(await (await raw("/v1/openapi.json")).text()));
  endCheck = check.install();
  await client.declare(spec, { createOnly: true });
});
afterAll(async () => {
  endCheck();
  // Whatever these tests asked for, the answers were as the document says.
  expect(check.faults).toEqual([]);
  expect(check.seen.size).toBeGreaterThan(10);
  await api.close(0);
  rmSync(directory, { recursive: true });
});

async function problemCode(call: Promise<unknown>): Promise<ProblemCode | undefined> {
  const error = await call.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  return error instanceof ProblemError ? error.problem.code : undefined;
}

function raw(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`http://muster${path}`, { unix: socketPath, ...init });
}

describe("the socket", () => {
  test("only its owner can open it", () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  });

  test("a second agent on it is refused, and the first goes on", async () => {
    expect(await problemCode(createApi(node, { socketPath }))).toBe("conflict");
    expect((await client.status()).name).toBe("one");
  });

  test("a file left by a killed process is taken over", async () => {
    const left = join(directory, "left.sock");
    const script = `Bun.serve({ unix: ${JSON.stringify(left)}, fetch: () => new Response() }); console.log("up")`;
    const killed = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    await killed.stdout.getReader().read();
    killed.kill("SIGKILL");
    await killed.exited;
    expect(statSync(left).isSocket()).toBe(true);
    const second = await createApi(node, { socketPath: left });
    expect((await new MusterClient(left).status()).name).toBe("one");
    await second.close(0);
  });

  test("another kind of file in the way is left alone", async () => {
    const file = join(directory, "file");
    writeFileSync(file, "precious");
    expect(await problemCode(createApi(node, { socketPath: file }))).toBe("conflict");
    expect(await Bun.file(file).text()).toBe("precious");
  });

  test("a path that no socket can have is refused by name", async () => {
    expect(await problemCode(createApi(node, { socketPath: join(directory, "x".repeat(120)) }))).toBe(
      "invalid-request",
    );
  });

  test("without an agent the client says which socket it tried", async () => {
    const call = new MusterClient(join(directory, "none.sock")).status();
    expect(await call.catch((error: unknown) => error)).toBeInstanceOf(AgentUnreachable);
  });
});

describe("requests", () => {
  test("reads answer as the node does", async () => {
    expect(await client.nodes()).toEqual(node.nodes());
    expect(await client.inspect(key)).toMatchObject({ running: 2, spec });
    expect((await client.cohort(key)).tolerates).toBe(0);
    expect((await client.promises("node")).promises[0]?.name).toBe("node");
    expect((await client.promises("fleet")).unreachable).toEqual(["two"]);
    expect(await client.deployments("default")).toHaveLength(1);
    expect(await client.deployments("other")).toHaveLength(0);
    expect(await client.deployments(undefined)).toHaveLength(1);
    expect((await client.invite(60_000)).expiresAtMs).toBe(60_000);
  });

  test("writes carry a request id, every call its own", async () => {
    const before = node.requestIds.length;
    await client.declare(spec, { createOnly: false });
    await client.scale(key, 3);
    await client.scale(key, 2);
    const ids = node.requestIds.slice(before);
    expect(new Set(ids).size).toBe(3);
    expect(ids.every((id) => id.length >= 1 && id.length <= 64)).toBe(true);
  });

  test("a given Idempotency-Key is used as it is, a bad one refused", async () => {
    const body = JSON.stringify({ replicas: 2 });
    const path = "/v1/deployments/default/web/scale";
    const good = await raw(path, { method: "PUT", body, headers: { "idempotency-key": "mine" } });
    expect(good.status).toBe(200);
    expect(node.requestIds.at(-1)).toBe("mine");
    const bad = await raw(path, { method: "PUT", body, headers: { "idempotency-key": "x".repeat(65) } });
    expect(bad.status).toBe(400);
  });

  test("refusals keep their code and have the table's status", async () => {
    expect(await problemCode(client.declare(spec, { createOnly: true }))).toBe("already-exists");
    expect(await problemCode(client.inspect({ namespace: "default", name: "gone" }))).toBe("not-found");
    expect((await raw("/v1/deployments/default/gone")).status).toBe(404);
    expect(
      (
        await raw("/v1/deployments/default/web", {
          method: "PUT",
          body: JSON.stringify(spec),
          headers: { "if-none-match": "*" },
        })
      ).status,
    ).toBe(409);
  });

  test("a body is refused with the path of every fault", async () => {
    const response = await raw("/v1/deployments/default/web", {
      method: "PUT",
      body: JSON.stringify({
        ...spec,
        replicas: -1,
        extra: 1,
        template: { ...spec.template, image: "Not An Image" },
      }),
    });
    expect(response.status).toBe(400);
    const { problem }: { problem: Problem } = JSON.parse(await response.text());
    expect((problem.places ?? []).map((place) => place.path).toSorted()).toEqual([
      "extra",
      "replicas",
      "template.image",
    ]);
  });

  test.each([
    ["PUT", "/v1/deployments/default/web", "{", 400],
    ["PUT", "/v1/deployments/default/other", JSON.stringify(spec), 400],
    [
      "PUT",
      "/v1/deployments/default/web",
      JSON.stringify({ ...spec, template: { ...spec.template, env: { constructor: "x" } } }),
      400,
    ],
    ["PUT", "/v1/deployments/default/web", "x".repeat(600 * 1024), 400],
    ["PUT", "/v1/deployments/Default/web", JSON.stringify(spec), 400],
    ["GET", "/v1/deployments/default/web?x=1", undefined, 400],
    ["GET", "/v1/deployments/default/web/logs?tail=-1", undefined, 400],
    ["GET", "/v1/deployments/default/web/exec", undefined, 400],
    ["GET", "/v1/nothing", undefined, 404],
    ["POST", "/v1/status", undefined, 404],
    ["POST", "/v1/invites", JSON.stringify({ ttlMs: 31 * 86_400_000 }), 400],
  ])("%s %s is refused", async (method, path, body, status) => {
    const response = await raw(path, { method, ...(body === undefined ? {} : { body }) });
    expect(response.status).toBe(status);
    const { problem }: { problem: Problem } = JSON.parse(await response.text());
    expect(problem.message.length).toBeGreaterThan(0);
  });

  test("a bug in the node is an internal problem, not a closed connection", async () => {
    node.broken = true;
    try {
      expect(await problemCode(client.status())).toBe("internal");
    } finally {
      node.broken = false;
    }
  });

  test("web pages and foreign host names are refused", async () => {
    expect((await raw("/v1/status", { headers: { origin: "http://evil.example" } })).status).toBe(400);
    const url = `http://127.0.0.1:${api.port}/v1/status`;
    expect((await fetch(url)).status).toBe(200);
    expect((await fetch(url, { headers: { host: "evil.example" } })).status).toBe(400);
    expect((await fetch(url, { headers: { origin: "null" } })).status).toBe(400);
  });

  test("down passes on what was asked", async () => {
    await client.down(true);
    expect(node.downs).toEqual([{ keep: true }]);
  });
});

describe("streams", () => {
  test("logs arrive whole, of all replicas or one", async () => {
    const all = await Array.fromAsync(
      client.logs(key, { follow: false, signal: new AbortController().signal }),
    );
    expect(all).toHaveLength(4);
    const one = await Array.fromAsync(
      client.logs(key, { follow: false, replica: 1, tail: 1, signal: new AbortController().signal }),
    );
    expect(one).toEqual([{ replica: 1, stream: "stderr", atMs: 1, text: "oops \u{1f600} from 1" }]);
  });

  test("a problem before a stream begins has its status", async () => {
    const lines = client.logs(
      { namespace: "default", name: "gone" },
      { follow: true, signal: new AbortController().signal },
    );
    expect(await problemCode(Array.fromAsync(lines))).toBe("not-found");
  });

  test("a reader that goes away ends the node's work for it", async () => {
    const abort = new AbortController();
    const seen: number[] = [];
    for await (const event of client.events(key, { follow: true, sinceIndex: 0, signal: abort.signal })) {
      seen.push(event.index);
      abort.abort();
    }
    expect(seen[0]).toBe(1);
    await node.followEnded.promise;
  });

  test("events resume at an index, or at the last id a reader saw", async () => {
    const since = await Array.fromAsync(
      client.events(key, { follow: false, sinceIndex: 2, signal: new AbortController().signal }),
    );
    expect(since[0]?.index).toBe(2);
    const text = await (
      await raw("/v1/deployments/default/web/events", { headers: { "last-event-id": "2" } })
    ).text();
    expect(text).toStartWith('id: 2\ndata: {"deployment":"default/web","index":2,');
  });
});

describe("exec", () => {
  async function output(session: Awaited<ReturnType<typeof client.exec>>) {
    const decoder = new TextDecoder();
    let text = "";
    for await (const { stream, data } of session.output) text += `${stream}:${decoder.decode(data)}`;
    return text;
  }

  test("output, its stream and the exit code come back", async () => {
    const session = await client.exec(key, { replica: 0 }, { args: ["ls", "/x"], env: [] });
    expect(await output(session)).toBe("stderr:ls /x: not here\n");
    expect(await session.exitCode).toBe(127);
  });

  test("input goes in and its end is seen", async () => {
    const session = await client.exec(key, {}, { args: ["cat"], env: [] });
    await session.write(Buffer.from("abc"));
    await session.closeInput();
    expect(await output(session)).toBe("stdout:abc");
    expect(await session.exitCode).toBe(0);
  });

  test("input beyond the window waits for the process and none is lost", async () => {
    const session = await client.exec(key, {}, { args: ["cat"], env: [] });
    const sent = new Uint8Array(3 * 1024 * 1024).map((_, index) => index % 251);
    const writing = session.write(sent).then(() => session.closeInput());
    const parts: Uint8Array[] = [];
    for await (const { data } of session.output) parts.push(data);
    await writing;
    expect(Buffer.concat(parts).equals(Buffer.from(sent))).toBe(true);
  });

  test("a slow reader loses nothing of a flood", async () => {
    const session = await client.exec(key, {}, { args: ["flood", `${40 * 1024 * 1024}`], env: [] });
    let bytes = 0;
    for await (const { data } of session.output) bytes += data.length;
    expect(bytes).toBe(40 * 1024 * 1024);
  });

  test("the terminal's size is passed on", async () => {
    const session = await client.exec(
      key,
      {},
      {
        args: ["size"],
        env: [],
        terminal: { columns: 80, rows: 24 },
      },
    );
    expect(await output(session)).toBe("stdout:80x24");
  });

  test("what cannot start is refused with its problem", async () => {
    expect(
      await problemCode(client.exec({ namespace: "default", name: "gone" }, {}, { args: ["x"], env: [] })),
    ).toBe("not-found");
    expect(await problemCode(client.exec(key, {}, { args: [], env: [] }))).toBe("invalid-request");
  });

  test("a caller that goes away kills the command", async () => {
    const session = await client.exec(key, {}, { args: ["cat"], env: [] });
    session.kill();
    expect(await problemCode(session.exitCode)).toBe("unreachable");
    await node.execKilled.promise;
  });
});
