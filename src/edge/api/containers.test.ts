/** Single containers over the API: archives both ways, joined programs, and what all of them use. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProblemError } from "../../model/problem.ts";
import { MusterClient } from "../client/muster-client.ts";
import { FakeNodeApi } from "./fake-node-api.ts";
import { createApi, type Api } from "./server.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-containers-"));
const socketPath = join(directory, "muster.sock");
const node = new FakeNodeApi();
const client = new MusterClient(socketPath);
const key = { namespace: "default", name: "web" };
const files = "/v1/deployments/default/web/files";
let api: Api;

beforeAll(async () => {
  api = await createApi(node, { socketPath });
});
afterAll(async () => {
  await api.close(0);
  rmSync(directory, { recursive: true });
});

function raw(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`http://muster${path}`, { unix: socketPath, ...init });
}

async function problemOf(path: string, init: RequestInit = {}): Promise<[number, string, string]> {
  const response = await raw(path, init);
  const { problem } = JSON.parse(await response.text());
  return [response.status, problem.code, `${problem.message} ${JSON.stringify(problem.places ?? [])}`];
}

async function gather(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("an archive goes in and comes out as it was, however long", async () => {
  const bytes = Buffer.alloc(8 * 1024 * 1024, "an archive ");
  const archive = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += 100_000) controller.enqueue(bytes.subarray(at, at + 100_000));
      controller.close();
    },
  });
  await client.copyIn(key, { replica: 3, container: "side" }, { path: "/srv/with space&more", archive });
  expect(node.containers.asked.at(-1)).toEqual({
    key,
    choice: { replica: 3, container: "side" },
    path: "/srv/with space&more",
  });
  const back = await gather(await client.copyOut(key, {}, "/srv/with space&more"));
  expect(back.equals(bytes)).toBe(true);
});

test("an answer that breaks off is told from one that is whole", async () => {
  node.containers.archives.set("/cut", new Uint8Array(100_000));
  node.containers.breaksOff = true;
  try {
    const failure = await client
      .copyOut(key, {}, "/cut")
      .then(gather)
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ProblemError);
    expect(String(failure)).toContain("broke off");
  } finally {
    node.containers.breaksOff = false;
  }
});

test("what is asked for wrongly is refused before the node hears of it", async () => {
  const before = node.containers.asked.length;
  for (const [path, init, word] of [
    [files, {}, "path"],
    [`${files}?path=relative`, {}, "absolute"],
    [`${files}?path=/x&replica=-1`, {}, "replica"],
    [`${files}?path=/x&container=No%20Name`, {}, "container"],
    [`${files}?path=/x&follow=true`, {}, "follow"],
    [`${files}?path=/${"x".repeat(5_000)}`, {}, "path"],
    [`${files}?path=/x`, { method: "PUT" }, "tar archive"],
    ["/v1/usage?scope=world", {}, "scope"],
    ["/v1/deployments/default/web/attach", {}, "WebSocket"],
  ] as const) {
    const [status, code, message] = await problemOf(path, init);
    expect([status, code]).toEqual([400, "invalid-request"]);
    expect(message).toContain(word);
  }
  expect(node.containers.asked.length).toBe(before);
});

test("what the node refuses is answered as a problem", async () => {
  const [status, code, message] = await problemOf(`${files}?path=/none`);
  expect([status, code]).toEqual([400, "invalid-request"]);
  expect(message).toContain("there is no /none");
});

test("a JSON body that does not say its length is bounded all the same", async () => {
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(64 * 1024).fill(32)),
  });
  const answer = await problemOf("/v1/invites", { method: "POST", body }).catch(() => undefined);
  // The server may close before the endless body has an answer; what counts is that it does not go on reading.
  if (answer !== undefined) expect(answer[2]).toContain("larger than");
  expect((await client.status()).name).toBe("one");
});

test("a joined session speaks as exec does, sizes included, and is let go of by closing", async () => {
  const session = await client.attach(key, { replica: 1 }, { columns: 91, rows: 33 });
  expect(node.containers.asked.at(-1)).toEqual({ key, choice: { replica: 1 } });
  await session.write(Buffer.from("to and fro"));
  session.resize(70, 20);
  const { value } = await session.output[Symbol.asyncIterator]().next();
  expect(Buffer.from(value?.data ?? []).toString()).toBe("to and fro");
  expect(node.containers.terminals.slice(-2)).toEqual([
    { columns: 91, rows: 33 },
    { columns: 70, rows: 20 },
  ]);
  session.kill();
  await node.containers.letGo.promise;
});

test("usage is the node's, or everybody's with those that did not answer", async () => {
  expect((await client.usage("fleet")).unreachable).toEqual(["two"]);
  const own = await client.usage("node");
  expect(own.unreachable).toEqual([]);
  expect(own.nodes[0]?.containers[0]).toMatchObject({ name: "web", replica: 0, pids: 3 });
});
