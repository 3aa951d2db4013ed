/** What a manifest declares, seen from inside what runs: field by field, on one machine. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DeploymentView } from "../../src/model/views.ts";
import { missingTools, until } from "./binary.ts";
import { Fleet } from "./fleet.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

const say = `
id -u; id -G; pwd; hostname; echo "$GREETING"; cat /etc/app.conf; stat -c '%a %U' /etc/app.conf
grep -E ' /(data|run) ' /proc/mounts | cut -d' ' -f2-4 | cut -d, -f1
grep -E 'CapEff|NoNewPrivs' /proc/self/status | tr '\\t' ' '
touch /x 2>&1; touch /data/x 2>&1; touch /run/x && echo done`;

/** As somebody writes it who wants everything. */
const manifest = (image: string, memory: string): string => `
name: all
initContainers:
  - name: prepare
    image: ${image}
    command: [sh, -c, "echo of init >/data/index.html; chmod 777 /marks"]
    mounts: [data:/data, marks:/marks]
containers:
  - name: web
    image: ${image}
    entrypoint: [/bin/sh, -c]
    command:
      - |${say.replaceAll("\n", "\n        ")}
        trap "echo told to stop >>/marks/ends; exit 0" INT
        httpd -f -p 8080 -h /data & wait $!
    env: [GREETING=hello]
    workingDir: /tmp/
    user: app
    resources: {memory: ${memory}, pids: 20}
    ports: [8080]
    probes:
      startup: {tcp: 8080, period: 100ms, timeout: 100ms, failureThreshold: 100}
      readiness: {http: 8080/index.html, period: 200ms, timeout: 200ms}
      liveness: {exec: [cat, /data/index.html]}
    preStop: {exec: [sh, -c, "echo before that >>/marks/ends"]}
    stopSignal: INT
    readOnlyRoot: true
    mounts: ["data:/data:ro", "tmpfs:/run:1Mi", marks:/marks]
    files: [{path: /etc/app.conf, content: "listen 8080\\n", mode: "0604"}]
    capabilities: {drop: [ALL]}
  - name: side
    image: ${image}
    command: [sh, -c, "wget -q -O - http://127.0.0.1:8080/; hostname; sleep 1000"]
hostname: web.example.com
stopTimeout: 1s
`;

describe.skipIf(missing.length > 0)("a spec", () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await Fleet.up("e2espec", 1);
  }, 120_000);
  afterAll(async () => fleet?.down(), 60_000);

  const apply = (text: string) =>
    fleet.withInput("n1", text, "apply", "-f", "-", "--wait", "--timeout", "30s");
  const logs = (container: string): Promise<string> => fleet.text("n1", "logs", "all/0", "-c", container);

  test("of several containers is carried out, field by field", async () => {
    expect((await fleet.withInput("n1", manifest(fleet.image, "64Mi"), "plan", "-f", "-")).code).toBe(5);
    expect(await apply(manifest(fleet.image, "64Mi"))).toMatchObject({
      code: 0,
      out: "default/all: running, 1 replica\n",
    });
    await until("the side container has the page", 10_000, async () =>
      (await logs("side")).includes("web.example.com") ? undefined : await logs("side"),
    );
    expect(await logs("side")).toBe("of init\nweb.example.com\n");
    // Whatever file system the machine's disk has.
    const web = (await logs("web")).replace(/^\/data \S+ /m, "/data DISK ");
    expect(web.split("\n").slice(0, 15)).toEqual([
      "1000",
      "1000",
      "/tmp",
      "web.example.com",
      "hello",
      "listen 8080",
      "604 root",
      "/data DISK ro",
      "/run tmpfs rw",
      "CapEff: 0000000000000000",
      "NoNewPrivs: 1",
      "touch: /x: Read-only file system",
      "touch: /data/x: Read-only file system",
      "done",
      "",
    ]);
  }, 60_000);

  test("written in another way replaces nothing, and changed in one field it replaces", async () => {
    const before = await fleet.inspect("n1", "all");
    const other = manifest(fleet.image, "65536Ki").replace("[GREETING=hello]", "{GREETING: hello}");
    const again = await fleet.withInput("n1", other, "plan", "-f", "-");
    expect([again.code, again.out]).toEqual([
      0,
      "default/all: unchanged\nplan: 0 to create, 0 to change, 1 unchanged; nothing was done\n",
    ]);
    expect((await apply(other)).out).toBe("default/all: unchanged, 1 replica\n");
    expect((await fleet.inspect("n1", "all")).replicas).toMatchObject([
      { promise: before.replicas[0]?.promise, restarts: 0 },
    ]);

    const changed = manifest(fleet.image, "96Mi");
    const plan = await fleet.withInput("n1", changed, "plan", "-f", "-");
    expect(plan.out).toContain("  containers.web.resources.memory: 64Mi -> 96Mi\n");
    expect(plan.code).toBe(5);
    expect((await apply(changed)).code).toBe(0);
    const ends = await fleet.text("n1", "exec", "all/0", "-c", "web", "--", "cat", "/marks/ends");
    expect(ends).toBe("before that\ntold to stop\n");
    const after = await fleet.inspect("n1", "all");
    expect(after.templateHash).not.toBe(before.templateHash);
    await fleet.text("n1", "delete", "all", "--wait");
  }, 60_000);

  test("made of flags is that of a manifest", async () => {
    const file = join(fleet.directory, "flags.conf");
    await writeFile(file, "from a file\n");
    const flags = `--name flags --stop-timeout 1s -v kept:/kept --tmpfs /t:1Mi --file ${file}:/etc/f.conf -u 1000:1000 -w /t --cap-drop ALL --read-only --hostname h`;
    const script = "pwd; cat /etc/f.conf; hostname; sleep 1000";
    const words = ["run", ...flags.split(" "), "--wait", fleet.image, "--", "/bin/sh", "-c", script];
    await fleet.text("n1", ...words);
    const written = JSON.stringify({
      name: "flags",
      stopTimeout: "1s",
      image: fleet.image,
      command: ["/bin/sh", "-c", script],
      user: "1000:1000",
      workingDir: "/t",
      readOnlyRoot: "true",
      hostname: "h",
      capabilities: { drop: ["all"] },
      mounts: [{ tmpfs: "1Mi", target: "/t" }, "kept:/kept"],
      files: [{ path: "/etc/f.conf", content: "from a file\n" }],
    });
    expect((await fleet.withInput("n1", written, "plan", "-f", "-")).code).toBe(0);
    expect(await fleet.text("n1", "logs", "flags/0")).toBe("/t\nfrom a file\nh\n");
    await fleet.text("n1", "delete", "flags", "--wait");
  }, 60_000);

  test("of a directory with one mistake is told with its place, and nothing is applied", async () => {
    const directory = join(fleet.directory, "manifests", "deep");
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "..", "good.yaml"), `name: good\nimage: ${fleet.image}\n`);
    await writeFile(join(directory, "bad.yaml"), `name: bad\nimage: ${fleet.image}\nmounts: [data:data]\n`);
    const { code, errors } = await fleet.on("n1", "apply", "-f", join(directory, ".."));
    expect(code).toBe(1);
    expect(errors).toContain(
      'deep/bad.yaml:3:10: mounts[0]: "data:data" has a target that is not an absolute path',
    );
    expect((await fleet.json<readonly DeploymentView[]>("n1", "ps")).map(({ name }) => name)).toEqual([]);
  });
});
