/** The agent as a process: who holds its directory, what it logs and measures, how it starts again. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DeploymentSpec } from "../../src/model/spec.ts";
import { singleContainer } from "../../src/model/template.ts";
import { AnswerCheck } from "../../src/edge/api/answer-check.ts";
import { MusterClient } from "../../src/edge/client/muster-client.ts";
import { canRun } from "./machine-needs.ts";

const isAble = canRun("the agent as a process", ["runc", "conmon", "ip", "nft"]);

const directory = mkdtempSync(join(tmpdir(), "muster-agent-"));
const main = join(import.meta.dir, "../../src/main.ts");
const environment = { ...process.env, MUSTER_CONFIG: "/dev/null" };

interface Running {
  readonly process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly client: MusterClient;
  /** All that was said on standard error so far. */
  readonly log: () => string;
  end(): Promise<void>;
}

const started: Running[] = [];

/** Starts an agent on a port of the system's choice and resolves when it is ready. */
async function start(name: string, ...flags: readonly string[]): Promise<Running> {
  const dataDirectory = join(directory, name);
  const child = Bun.spawn(
    [
      process.execPath,
      main,
      "up",
      "--data-dir",
      dataDirectory,
      "--name",
      name,
      "--log-level",
      "debug",
      ...flags,
    ],
    { env: environment, stdio: ["ignore", "pipe", "pipe"] },
  );
  let log = "";
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const bytes of child.stderr) log += decoder.decode(bytes, { stream: true });
  })();
  const agent: Running = {
    process: child,
    client: new MusterClient(join(dataDirectory, "muster.sock")),
    log: () => log,
    async end() {
      child.kill("SIGTERM");
      await child.exited;
      await reading;
    },
  };
  started.push(agent);
  const { value } = await child.stdout.getReader().read();
  if (
    !Buffer.from(value ?? [])
      .toString()
      .includes("is ready")
  ) {
    await reading;
    throw new Error(`the agent did not start: ${log}`);
  }
  return agent;
}

async function muster(...words: readonly string[]) {
  const child = Bun.spawn([process.execPath, main, ...words], {
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { out, errors, code };
}

/** A port that nobody has now. */
function freePort(): number {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const { port = 0 } = server;
  void server.stop(true);
  return port;
}

const port = freePort();
const metricsPort = freePort();
let first: Running;

beforeAll(async () => {
  if (!isAble) return;
  first = await start("n1", "--listen", `127.0.0.1:${port}`, "--metrics-listen", `127.0.0.1:${metricsPort}`);
});
afterAll(async () => {
  // What nothing runs on leaves nothing: the agents' own directories and groups go with `down`.
  for (const agent of started) {
    if (agent.process.exitCode === null) await agent.client.down(false).catch(() => {});
    agent.process.kill("SIGKILL");
    await agent.process.exited;
  }
  rmSync(directory, { recursive: true, force: true });
});

test.skipIf(!isAble)("a second start says who holds the directory, by either way", async () => {
  const dataDirectory = join(directory, "n1");
  const since = /pid (\d+), since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
  const same = await muster("up", "--data-dir", dataDirectory);
  expect([same.code, since.exec(same.errors)?.[1]]).toEqual([1, `${first.process.pid}`]);
  const other = await muster("up", "--data-dir", dataDirectory, "--socket", join(directory, "other.sock"));
  expect(other.code).toBe(1);
  expect(other.errors).toMatch(new RegExp(`in use by process ${first.process.pid}, since \\d{4}-`));
});

const hasPromtool = canRun("Prometheus' own check of the metrics", ["promtool"]);
test.skipIf(!isAble || !hasPromtool)("promtool finds nothing to complain about in the metrics", async () => {
  await first.client.status();
  const url = `http://127.0.0.1:${metricsPort}/metrics`;
  // The second answer also counts the first request.
  await (await fetch(url)).text();
  const text = await (await fetch(url)).text();
  for (const name of [
    "process_resident_memory_bytes",
    "muster_store_commit_duration_seconds_count",
    "muster_members",
  ])
    expect(text).toContain(`\n${name}`);
  const child = Bun.spawn(["promtool", "check", "metrics"], {
    stdin: new Blob([text]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const said = (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
  expect([said, await child.exited]).toEqual(["", 0]);
});

test.skipIf(!isAble)(
  "a machine joins by a file, and no secret is in a log",
  async () => {
    const invite = await muster("invite", "--token", "--data-dir", join(directory, "n1"));
    const token = invite.out.trim();
    expect(token).toStartWith("muster1.");
    const path = join(directory, "invite");
    writeFileSync(path, `# for n2\n${token}\n`);
    const flags = [
      "--listen",
      `127.0.0.1:${freePort()}`,
      "--join",
      `127.0.0.1:${port}`,
      "--invite-file",
      path,
    ];
    const second = await start("n2", ...flags);
    const secret = "correct-horse-battery-staple";
    const spec: DeploymentSpec = {
      namespace: "default",
      name: "secretive",
      replicas: 2,
      template: singleContainer({ image: "127.0.0.1:1/none:1", env: { PASSWORD: secret } }),
    };
    await second.client.declare(spec, { createOnly: true });
    const controller = new AbortController();
    for await (const event of second.client.events(spec, {
      follow: true,
      sinceIndex: 0,
      signal: controller.signal,
    }))
      if (event.kind === "backoff") break;
    controller.abort();
    await second.client.delete(spec);
    for (const said of [first.log(), second.log()]) {
      expect(said.length).toBeGreaterThan(0);
      expect(said).not.toContain(token);
      expect(said).not.toContain(secret);
      expect(said).not.toContain("PRIVATE KEY");
    }
    await second.end();
    rmSync(path);
    // A member needs its invite no more, and says that what it is given does nothing.
    const again = await start("n2", ...flags);
    expect(again.log()).toContain("--join and --invite-file are ignored");
    await again.client.down(false);
    await again.process.exited;
  },
  60_000,
);

test.skipIf(!isAble)("what a real agent answers is as its document says", async () => {
  const { client } = first;
  const unix = client.socketPath;
  const check = new AnswerCheck(
    JSON.parse(await (await fetch("http://muster/v1/openapi.json", { unix })).text()),
  );
  const end = check.install();
  try {
    const template = singleContainer({
      image: "127.0.0.1:1/none:1",
      ports: [{ container: 80, protocol: "tcp" }],
    });
    const spec: DeploymentSpec = { namespace: "default", name: "described", replicas: 1, template };
    await client.declare(spec, { createOnly: true });
    const controller = new AbortController();
    for await (const event of client.events(spec, { follow: true, sinceIndex: 0, signal: controller.signal }))
      if (event.kind === "backoff") break;
    controller.abort();
    await client.status();
    await client.nodes();
    await client.promises("fleet");
    await client.deployments(undefined);
    expect((await client.inspect(spec)).replicas).toHaveLength(1);
    await client.cohort(spec);
    for (const path of ["/v1/usage", "/v1/images", "/v1/promises?scope=node"])
      expect((await fetch(`http://muster${path}`, { unix })).status).toBe(200);
    await client.delete(spec);
    await client.inspect({ namespace: "default", name: "gone" }).catch(() => {});
  } finally {
    end();
  }
  expect(check.faults).toEqual([]);
  expect(check.seen.size).toBeGreaterThan(10);
});

test.skipIf(!isAble)(
  "a record of the directory that cannot be read is set aside, and the agent starts",
  async () => {
    await first.end();
    const database = new Database(join(directory, "n1", "muster.db"));
    database.run(
      "INSERT OR REPLACE INTO records (kind, key, value) VALUES ('directory', 'charter:torn', x'c1ff00')",
    );
    database.close();
    first = await start("n1", "--listen", `127.0.0.1:${port}`);
    expect((await first.client.status()).name).toBe("n1");
    expect(first.log()).toContain("a stored record cannot be read; it is set aside");
    await first.end();
    const left = new Database(join(directory, "n1", "muster.db"));
    const rows = left.query("SELECT kind, key FROM records WHERE key LIKE '%torn'").all();
    left.close();
    expect(rows).toEqual([{ kind: "set-aside", key: "directory/charter:torn" }]);
    first = await start("n1", "--listen", `127.0.0.1:${port}`);
  },
  60_000,
);
