import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeNodeApi } from "../api/fake-node-api.ts";
import { createApi, type Api } from "../api/server.ts";
import type { CliContext } from "./console.ts";
import { runCli } from "./run-cli.ts";
import { containerResourcesDefault, singleContainer } from "../../model/template.ts";

const directory = mkdtempSync(join(tmpdir(), "muster-cli-"));
const socketPath = join(directory, "muster.sock");
let node: FakeNodeApi;
let api: Api;

beforeAll(async () => {
  await Bun.write(
    join(directory, "web.yaml"),
    "name: web\nimage: nginx:1.27\nreplicas: 2\n---\nname: db\nimage: db:1\nnamespace: data\n",
  );
  await Bun.write(join(directory, "bad.yaml"), "name: web\nimages: nginx\nreplicas: many\n");
});
beforeEach(async () => {
  await api?.close(0);
  node = new FakeNodeApi();
  api = await createApi(node, { socketPath });
});
afterAll(async () => {
  await api.close(0);
  rmSync(directory, { recursive: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly errors: string;
}

async function muster(
  args: readonly string[],
  settings: { input?: string; interrupted?: AbortSignal; socket?: string; isTerminal?: true } = {},
): Promise<Ran> {
  let out = "";
  let errors = "";
  const text = (data: string | Uint8Array) =>
    typeof data === "string" ? data : Buffer.from(data).toString();
  const context: CliContext = {
    env: { MUSTER_SOCKET: settings.socket ?? socketPath },
    exitCode: 0,
    console: {
      write: async (data) => void (out += text(data)),
      complain: async (data) => void (errors += text(data)),
      input: async function* () {
        yield Buffer.from(settings.input ?? "");
      },
      interrupted: settings.interrupted ?? new AbortController().signal,
      terminal:
        settings.isTerminal === true
          ? { size: () => ({ columns: 40, rows: 9 }), raw: () => () => {}, onResize: () => () => {} }
          : undefined,
    },
  };
  const code = await runCli(args, context);
  return { code, out, errors };
}

describe("exit codes and failures", () => {
  test("2 for what cannot be understood, and nothing on standard output", async () => {
    for (const args of [
      ["bogus"],
      ["run"],
      ["run", "Not An Image"],
      ["scale", "web", "-1"],
      ["scale", "web", "10001"],
      ["ps", "--bogus"],
      ["inspect", "Web"],
      ["apply"],
      [],
    ]) {
      const { code, out, errors } = await muster(args);
      expect([args, code, out]).toEqual([args, 2, ""]);
      expect(errors).toStartWith("muster: ");
    }
  });

  test("3 when no agent answers, with what to do", async () => {
    const { code, errors } = await muster(["ps"], { socket: join(directory, "none") });
    expect(code).toBe(3);
    expect(errors).toContain("next: start one with muster up");
  });

  test("1 for a refusal, as text or as JSON on standard error", async () => {
    const text = await muster(["inspect", "gone"]);
    expect(text).toEqual({
      code: 1,
      out: "",
      errors: "muster: there is no deployment default/gone\nnext: muster ps -A lists all\n",
    });
    const json = await muster(["inspect", "gone", "--json"]);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.errors)).toEqual({
      problem: {
        code: "not-found",
        message: "there is no deployment default/gone",
        next: "muster ps -A lists all",
      },
    });
  });

  test("4 when waiting takes too long, with what is missing", async () => {
    node.running = 1;
    const { code, errors } = await muster(["run", "nginx", "-r", "3", "--wait", "--timeout", "50ms"]);
    expect(code).toBe(4);
    expect(errors).toContain("1 of 3 replicas run; memory: 1 node has too little");
  });

  test("a terminal sees how far a wait is, in one line that is gone at the end", async () => {
    node.running = 1;
    const words = ["run", "nginx", "-r", "3", "--wait", "--timeout", "50ms"];
    const { errors } = await muster(words, { isTerminal: true });
    expect(errors).toStartWith("\rdefault/nginx: 1 of 3 replicas run; mem\u001b[K\r\u001b[Kmuster: ");
    expect((await muster(["scale", "nginx", "3", "--wait", "--timeout", "50ms"])).errors).toStartWith(
      "muster: ",
    );
  });

  test("130 when the caller stops waiting", async () => {
    node.running = 0;
    const interrupt = new AbortController();
    const inspect = node.inspect.bind(node);
    node.inspect = async (key) => {
      interrupt.abort();
      return inspect(key);
    };
    const run = await muster(["run", "nginx", "--wait"], {
      interrupted: interrupt.signal,
    });
    expect(run.code).toBe(130);
    expect(run.errors).toContain("what was asked for stays asked for");
    const exec = muster(["exec", "-i", "nginx", "--", "cat"], {
      interrupted: interrupt.signal,
    });
    expect((await exec).code).toBe(130);
  });

  test("help and version are answers", async () => {
    const help = await muster(["--help"]);
    expect(help.code).toBe(0);
    expect(help.out).toContain("cohort");
    expect((await muster(["logs", "--help"])).out).toContain("--socket <path>");
    expect((await muster(["--version", "--json"])).code).toBe(0);
  });
});

describe("deployments", () => {
  test("run takes its name from the image, and refuses to do it twice", async () => {
    const first = await muster([
      "run",
      "registry.example.com:5000/team/my_app:1.2",
      "-p",
      "8080:80",
      "-e",
      "B=2",
      "-e",
      "A=x=y",
      "--memory",
      "64Mi",
      "--",
      "serve",
      "-v",
    ]);
    expect(first).toEqual({ code: 0, out: "default/my-app: accepted, 1 replica\n", errors: "" });
    const view = JSON.parse((await muster(["inspect", "my-app", "--json"])).out);
    expect(view.spec.template).toEqual(
      singleContainer({
        image: "registry.example.com:5000/team/my_app:1.2",
        command: ["serve", "-v"],
        env: { A: "x=y", B: "2" },
        resources: { ...containerResourcesDefault, memoryBytes: 64 * 2 ** 20 },
        ports: [{ container: 80, published: 8080, protocol: "tcp" }],
      }),
    );
    expect((await muster(["run", "my_app"])).code).toBe(1);
    expect((await muster(["run", "x", "-p", "80:1", "-p", "80:2"])).code).toBe(2);
  });

  test("apply reads files, directories and standard input", async () => {
    const file = await muster(["apply", "-f", join(directory, "web.yaml"), "--wait"]);
    expect(file.out).toBe("default/web: running, 2 replicas\ndata/db: running, 1 replica\n");
    const input = await muster(["apply", "-f", "-", "-n", "shop"], { input: "{name: web, image: nginx}" });
    expect(input.out).toBe("shop/web: accepted, 1 replica\n");
    expect((await muster(["ps", "-A"])).out.split("\n")).toHaveLength(5);
    expect((await muster(["ps", "-n", "shop", "--json"])).out).toContain('"namespace": "shop"');
  });

  test("one bad file and nothing is applied", async () => {
    const { code, out, errors } = await muster(["apply", "-f", directory]);
    const file = join(directory, "bad.yaml");
    expect([code, out]).toEqual([1, ""]);
    expect(errors.split("\n").slice(0, 4)).toEqual([
      `muster: 3 errors in ${file}; nothing was changed`,
      `  ${file}:1:1: image: image is missing`,
      `  ${file}:2:1: images: unknown field "images"; did you mean image?`,
      `  ${file}:3:11: replicas: "many" is not a whole number`,
    ]);
    expect(node.requestIds).toEqual([]);
  });

  test("scale and delete wait for the end they ask for", async () => {
    await muster(["run", "nginx"]);
    expect((await muster(["scale", "default/nginx", "4", "--wait"])).out).toBe(
      "default/nginx: running, 4 replicas\n",
    );
    expect((await muster(["delete", "nginx", "--wait"])).out).toBe("default/nginx: gone\n");
    expect((await muster(["delete", "nginx"])).code).toBe(1);
  });
});

describe("run", () => {
  test("has a flag for each thing that one container needs", async () => {
    const conf = join(directory, "app.conf");
    await Bun.write(conf, "listen 8080\n");
    await Bun.write(join(directory, "vars"), "# two\nA=1\n\nB=x=y\r\n");
    const flags =
      "-v data:/data -v /srv/www:/www:ro --tmpfs /run:16Mi -u 1000:app -w /srv --entrypoint /bin/web --hostname web.local " +
      "-l team=shop --cap-add net_admin --cap-drop ALL --read-only --allow-new-privileges --user-namespace --runtime crun " +
      "--pull always --stop-signal int --stop-timeout 1m --pids 64 --disk 1Gi --restart never --name web";
    const ran = await muster([
      "run",
      ...flags.split(" "),
      "--file",
      `${conf}:/etc/app.conf:600`,
      "-e",
      "A=2",
      "--env-file",
      join(directory, "vars"),
      "app",
      "--",
      "x",
    ]);
    expect(ran).toEqual({ code: 0, out: "default/web: accepted, 1 replica\n", errors: "" });
    const manifest = `
      name: web
      labels: {team: shop}
      image: app
      pull: always
      entrypoint: [/bin/web]
      command: [x]
      env: {A: 2, B: x=y}
      workingDir: /srv
      user: 1000:app
      resources: {pids: 64, disk: 1Gi}
      mounts: [data:/data, "/srv/www:/www:ro", "tmpfs:/run:16Mi"]
      files: [{path: /etc/app.conf, content: "listen 8080\\n", mode: 0600}]
      capabilities: {add: [NET_ADMIN], drop: [ALL]}
      readOnlyRoot: true
      allowNewPrivileges: true
      userNamespace: true
      stopSignal: SIGINT
      stopTimeout: 60
      runtime: crun
      hostname: web.local
      restart: never`;
    const plan = await muster(["plan", "-f", "-"], { input: manifest });
    expect(plan).toEqual({
      code: 0,
      out: "default/web: unchanged\nplan: 0 to create, 0 to change, 1 unchanged; nothing was done\n",
      errors: "",
    });
  });

  test("writes the manifest of its flags instead, and asks no agent", async () => {
    const words = [
      "run",
      "nginx:1.27",
      "-p",
      "8080:80",
      "-r",
      "2",
      "--manifest",
      "-n",
      "shop",
      "--",
      "serve",
    ];
    expect(await muster(words, { socket: join(directory, "none") })).toEqual({
      code: 0,
      out: "name: nginx\nnamespace: shop\nreplicas: 2\nimage: nginx:1.27\ncommand: [serve]\nports: [8080:80/tcp]\n",
      errors: "",
    });
  });

  test("refuses what does not fit together or cannot be read, before it asks the agent", async () => {
    await Bun.write(join(directory, "binary"), new Uint8Array([0xff, 0xfe]));
    for (const [flags, error] of [
      ["-v a:/x -v b:/x", "mounts[1] has the target of mounts[0]"],
      ["-p 80 -p 80", "ports[1] stands here a second time"],
      [`--file ${directory}/none:/etc/x`, "cannot read"],
      [`--env-file ${directory}/app.conf`, "app.conf:1 is not of the form NAME=value"],
      [`--file ${directory}:/etc/x`, "is a directory"],
      [`--file ${directory}/binary:/etc/x`, "no text in UTF-8"],
      ["-v ./here:/x", "no absolute path"],
      ["--stop-timeout 2h", "longer than an hour"],
    ]) {
      const { code, errors } = await muster(["run", ...(flags ?? "").split(" "), "app"]);
      expect([flags, code]).toEqual([flags, 2]);
      expect(errors).toContain(error ?? "");
    }
    expect(node.requestIds).toEqual([]);
  });
});

describe("plan", () => {
  const manifest = (lines: string): string => `name: web\nimage: nginx:1.26\nreplicas: 2\n${lines}`;

  test("says what would be created, changed or left, and changes nothing", async () => {
    await muster(["apply", "-f", "-"], {
      input: manifest(
        'env: {A: x, B: y}\nmounts: [data:/data]\nfiles: [{path: /f, content: "a\\nb\\nc\\n"}]\n',
      ),
    });
    const before = [...node.requestIds];
    const changed =
      "name: web\nimage: nginx:1.27\nreplicas: 3\nenv: {A: x, C: ''}\nmounts: [data:/data:ro]\n" +
      'files: [{path: /f, content: "a\\nB\\n"}]\n---\nname: db\nimage: db\nreplicas: 0\n';
    const { code, out } = await muster(["plan", "-f", "-"], { input: changed });
    expect([code, out]).toEqual([
      5,
      "default/web: change, 2 replicas replaced\n" +
        "  replicas: 2 -> 3\n" +
        "  image: nginx:1.26 -> nginx:1.27\n" +
        "  env.B: y -> (none)\n" +
        '  mounts["/data"]: volume data -> volume data, read-only\n' +
        '  files["/f"].content: 3 lines -> 2 lines, line 2: b -> B\n' +
        '  env.C: (none) -> ""\n' +
        "default/db: create, 0 replicas of db\n" +
        "plan: 1 to create, 1 to change, 0 unchanged; nothing was done\n",
    ]);
    expect(node.requestIds).toEqual(before);
    const json = JSON.parse((await muster(["plan", "-f", "-", "--json"], { input: changed })).out);
    expect(json).toMatchObject([
      { name: "web", action: "change", replaced: 2, desired: 3 },
      { name: "db", action: "create", fields: [] },
    ]);
    expect(json[0].fields).toContainEqual({ path: "replicas", before: "2", after: "3" });
  });

  test("another number of replicas replaces none; several containers are named", async () => {
    await muster(["apply", "-f", "-"], { input: manifest("") });
    const scaled = await muster(["plan", "-f", "-"], { input: "name: web\nimage: nginx:1.26\n" });
    expect(scaled.out).toStartWith(
      "default/web: change, nothing that runs is replaced\n  replicas: 2 -> 1\n",
    );
    const two =
      "name: web\nreplicas: 2\ncontainers: [{name: main, image: nginx:1.26}, {name: log, image: tail}]\n";
    const { out } = await muster(["plan", "-f", "-"], { input: two });
    expect(out).toContain("  containers: (none) -> main, log\n");
    expect(out).toContain("  containers.log.image: (none) -> tail\n");
    expect(out).not.toContain("containers.main.image");
  });
});

test("inspect writes the manifest that declares what there is, in few words", async () => {
  const text =
    "name: web\nreplicas: 2\nimage: nginx:1.27\ncommand: [sh, -c, 'true']\nports: [8080:80]\nmounts: [data:/data:ro]\n";
  await muster(["apply", "-f", "-"], { input: text });
  await muster(["restart", "web"]);
  const { code, out } = await muster(["inspect", "web", "--manifest"]);
  expect([code, out]).toEqual([
    0,
    "name: web\nreplicas: 2\nimage: nginx:1.27\ncommand: [sh, -c, true]\nports: [8080:80/tcp]\nmounts: [data:/data:ro]\n",
  ]);
  expect((await muster(["plan", "-f", "-"], { input: out })).code).toBe(0);
  const json = await muster(["inspect", "web", "--manifest", "--json"]);
  expect((await muster(["plan", "-f", "-"], { input: json.out })).code).toBe(0);
});

test("directories are read with those in them, in order, and what is hidden is left out", async () => {
  const tree = join(directory, "tree");
  for (const name of ["b.yml", "a/2.json", "a/1.yaml", ".git/x.yaml", "c/.hidden.yaml", "notes.txt"])
    await Bun.write(join(tree, name), `{"name": "d${name.replaceAll(/[^a-z0-9]/g, "-")}", "image": "x"}`);
  const { code, out } = await muster(["apply", "-f", tree]);
  expect([code, out.split("\n").map((line) => line.split(":")[0])]).toEqual([
    0,
    ["default/da-1-yaml", "default/da-2-json", "default/db-yml", ""],
  ]);
});

describe("explain", () => {
  test("a field, all fields, and what is no field", async () => {
    const page = await muster(["explain", "spec.containers.resources"]);
    expect(page.code).toBe(0);
    expect(page.out).toStartWith("spec.containers.resources\n\ntype:     map\n");
    expect(page.out).toContain("  cpu  (amount of CPU; default: 0)\n      Cores to reserve");
    const leaf = JSON.parse((await muster(["explain", "stopTimeout", "--json"])).out);
    expect(leaf).toMatchObject({ path: "stopTimeout", type: "span of time", default: "10s", fields: [] });
    expect((await muster(["explain"])).out).toContain("  initContainers  (list of containers)\n");
    expect((await muster(["explain", "-r"])).out).toContain("\n    resources  (map)\n      cpu  (");
    const wrong = await muster(["explain", "spec.containers.resurces"]);
    expect([wrong.code, wrong.out]).toEqual([2, ""]);
    expect(wrong.errors).toBe(
      'muster: spec.containers has no field "resurces"; did you mean spec.containers.resources?\n' +
        "next: muster explain spec.containers lists what there is\n",
    );
  });
});

describe("restart and stop", () => {
  const marks = () => node.declared.map(({ template }) => template.labels["muster.restarted"]);

  test("a restart changes one label of the template, each time another", async () => {
    await muster(["apply", "-f", join(directory, "web.yaml")]);
    expect((await muster(["restart", "web", "--wait"])).out).toBe("default/web: running, 2 replicas\n");
    await muster(["restart", "default/web"]);
    const [, , first, second] = marks();
    expect(first).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect((second ?? "") > (first ?? "")).toBe(true);
    const [before, , after] = node.declared;
    expect({ ...after, template: { ...after?.template, labels: {} } }).toEqual({
      ...before,
      template: { ...before?.template, labels: {} },
    });
    expect((await muster(["restart", "gone"])).code).toBe(1);
  });

  test("one replica is restarted in place, and the declaration stays", async () => {
    await muster(["run", "nginx", "-r", "3"]);
    expect((await muster(["restart", "nginx/2", "--wait"])).out).toBe("default/nginx/2: restarted\n");
    expect((await muster(["restart", "nginx/2", "-c", "main"])).out).toBe(
      "default/nginx/2: being restarted\n",
    );
    expect(node.containers.asked.map(({ choice }) => choice)).toEqual([
      { replica: 2 },
      { replica: 2, container: "main" },
    ]);
    expect(node.declared).toHaveLength(1);
    expect((await muster(["restart", "nginx/12"])).code).toBe(1);
    expect((await muster(["restart", "nginx", "-c", "main"])).code).toBe(2);
  });

  test("what is applied later keeps the mark, so that an unchanged manifest changes nothing", async () => {
    await muster(["apply", "-f", join(directory, "web.yaml")]);
    await muster(["restart", "web"]);
    await muster(["apply", "-f", join(directory, "web.yaml")]);
    const [, , restarted, applied] = node.declared;
    expect(applied).toEqual(restarted);
  });

  test("stop keeps the deployment and says how to start it again", async () => {
    await muster(["run", "nginx", "-r", "3"]);
    expect((await muster(["stop", "nginx", "--wait"])).out).toBe(
      "default/nginx: stopped; muster scale default/nginx 3 starts it again\n",
    );
    expect(JSON.parse((await muster(["inspect", "nginx", "--json"])).out).desired).toBe(0);
    expect((await muster(["stop", "gone"])).code).toBe(1);
  });
});

describe("looking", () => {
  test("every listing has a JSON form that parses", async () => {
    await muster(["run", "nginx"]);
    for (const args of [
      ["status"],
      ["nodes"],
      ["ps"],
      ["inspect", "nginx"],
      ["promises"],
      ["promises", "--node"],
      ["cohort", "show", "nginx"],
      ["invite", "--ttl", "2h"],
    ]) {
      const { code, out } = await muster([...args, "--json"]);
      expect([args, code, typeof JSON.parse(out)]).toEqual([args, 0, "object"]);
      expect((await muster(args)).code).toBe(0);
    }
  });

  test("tables line up", async () => {
    expect((await muster(["nodes"])).out).toBe(
      "NAME   ID        STATUS  ADDRESS         CPU FREE    MEMORY FREE  ZONE  LABELS    VERSION\n" +
        "one *  00000000  alive   127.0.0.1:7440  1500m of 2  2Gi of 4Gi   -     disk=ssd  0.0.0\n",
    );
  });

  test("logs are marked with their replica unless one is asked for", async () => {
    await muster(["run", "nginx"]);
    expect((await muster(["logs", "nginx", "--tail", "1"])).out).toBe("nginx/1 | oops \u{1f600} from 1\n");
    expect((await muster(["logs", "default/nginx/0", "-t"])).out).toStartWith(
      "1970-01-01T00:00:00.000Z hello from 0\n",
    );
    expect(JSON.parse((await muster(["logs", "nginx/0", "--tail", "1", "--json"])).out).replica).toBe(0);
  });

  test("following ends with an interrupt, and that is no failure", async () => {
    await muster(["run", "nginx"]);
    const interrupt = new AbortController();
    const following = muster(["events", "nginx", "-f"], { interrupted: interrupt.signal });
    const logs = muster(["logs", "nginx", "-f"], { interrupted: interrupt.signal });
    interrupt.abort();
    expect((await following).code).toBe(0);
    expect((await logs).code).toBe(0);
  });
});

describe("exec and down", () => {
  test("exec passes input, output and the exit code", async () => {
    await muster(["run", "nginx"]);
    expect(await muster(["exec", "-i", "nginx/0", "--", "cat"], { input: "hello" })).toEqual({
      code: 0,
      out: "hello",
      errors: "",
    });
    expect(await muster(["exec", "nginx", "--", "ls", "-l"])).toEqual({
      code: 127,
      out: "",
      errors: "ls -l: not here\n",
    });
    expect((await muster(["exec", "nginx", "--", "exit", "42"])).code).toBe(42);
    expect((await muster(["exec", "-t", "nginx", "--", "sh"])).code).toBe(2);
    expect((await muster(["exec", "gone", "--", "sh"])).code).toBe(1);
    await muster(["exec", "nginx/1", "-c", "sidecar", "--", "ls"]);
    expect(node.execChoices.at(-1)).toEqual({ replica: 1, container: "sidecar" });
  });

  test("logs asks for the container that it is told", async () => {
    await muster(["run", "nginx"]);
    expect((await muster(["logs", "nginx/1", "-c", "sidecar"])).code).toBe(0);
    expect(node.logQueries.at(-1)).toMatchObject({ replica: 1, container: "sidecar" });
  });

  test("inspect shows each container of a replica that has several", async () => {
    await muster(["run", "nginx"]);
    const main = { name: "main", isInit: false, phase: "running", ready: true, restarts: 0 } as const;
    node.containerReports = [
      { ...main, name: "fetch", isInit: true, phase: "completed", ready: false, exitCode: 0 },
      main,
      { ...main, name: "cache", phase: "backoff", ready: false, restarts: 3, oomKilled: true, message: "no" },
    ];
    const rows = (await muster(["inspect", "nginx"])).out.split("\n").map((line) => line.split(/  +/));
    expect(rows).toContainEqual(["0", "fetch (init)", "completed", "no", "0", "0", "-"]);
    expect(rows).toContainEqual(["0", "cache", "backoff", "no", "3", "out of memory", "no"]);
  });

  test("down says what becomes of the containers", async () => {
    expect((await muster(["down", "--keep"])).out).toBe("the agent of one has ended; its containers go on\n");
    expect((await muster(["down"])).out).toBe("one has left the fleet\n");
    expect(node.downs).toEqual([{ keep: true }, { keep: false }]);
  });
});

test("who interrupts a command that an agent does not answer is not kept waiting", async () => {
  const reached = Promise.withResolvers<void>();
  const mute = Bun.serve({
    unix: join(directory, "mute.sock"),
    fetch: () => {
      reached.resolve();
      return new Promise<Response>(() => undefined);
    },
  });
  const interruption = new AbortController();
  const run = muster(["scale", "web", "3"], {
    socket: join(directory, "mute.sock"),
    interrupted: interruption.signal,
  });
  await reached.promise;
  interruption.abort();
  const { code, errors } = await run;
  expect(code).toBe(130);
  expect(errors).toContain("interrupted before the agent had answered");
  await mute.stop(true);
});
