/** A fleet of three as its users meet it: every command on every node, and each refusal with nothing changed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { HistoryEvent } from "../../src/model/event.ts";
import type { DeploymentView } from "../../src/model/views.ts";
import { binaryPath, missingTools, mustRun, run, until } from "./binary.ts";
import { Fleet, registryHost } from "./fleet.ts";

const missing = missingTools();
if (missing.length > 0) console.log(`skipped, not on this machine: ${missing.join(", ")}`);

interface Written {
  readonly name: string;
  readonly desired: number;
  readonly changed: boolean;
  readonly notes: readonly string[];
}

describe.skipIf(missing.length > 0)("fleet", () => {
  let fleet: Fleet;
  let formedAfterMs = 0;

  beforeAll(async () => {
    const startedAt = performance.now();
    fleet = await Fleet.up("e2efleet", 3);
    formedAfterMs = performance.now() - startedAt;
  }, 120_000);
  afterAll(async () => fleet?.down(), 60_000);

  /** All that could have changed: deployments, promises, and what runs. */
  async function everything(): Promise<string> {
    const names = (await fleet.json<readonly DeploymentView[]>("n1", "ps", "-A")).map((view) => [
      view.name,
      view.desired,
      view.templateHash,
    ]);
    const { promises } = await fleet.json<{ promises: readonly { promise: string; nodeName: string }[] }>(
      "n1",
      "promises",
    );
    return JSON.stringify([
      names.toSorted(),
      promises.map((one) => `${one.promise} ${one.nodeName}`).toSorted(),
    ]);
  }

  test("forms, and every node lists what all have", async () => {
    console.log(`    registry, image and a fleet of three: ${Math.round(formedAfterMs)} ms`);
    for (const machine of fleet.machines) {
      const nodes = await fleet.nodes(machine);
      expect(nodes.map((node) => [node.name, node.status])).toEqual([
        ["n1", "alive"],
        ["n2", "alive"],
        ["n3", "alive"],
      ]);
      for (const node of nodes) {
        expect(node.self).toBe(node.name === machine);
        expect(node.capacity.cpuMillis).toBeGreaterThan(0);
        expect(node.capacity.memoryBytes).toBeGreaterThan(2 ** 20);
        expect(node.addresses[0]).toMatch(/^10\.99\.0\.\d:7440$/);
      }
    }
  });

  test("a deployment is run on one node and used from all", async () => {
    const [written] = await fleet.json<readonly Written[]>(
      ...(["n1", "run", fleet.image, "--name", "web", "-r", "3", "-e", "GREETING=hello", "--wait"] as const),
    );
    expect(written).toMatchObject({ name: "web", desired: 3, changed: true });
    await fleet.untilExactly("n2", "web", 3);
    for (const machine of fleet.machines) {
      const view = await fleet.inspect(machine, "web");
      expect(view.running).toBe(3);
      expect(new Set(view.replicas.map((replica) => replica.nodeName)).size).toBe(3);
      expect(await fleet.text(machine, "ps")).toMatch(/default +web +3\/3 +ok/);
      const logs = await fleet.text(machine, "logs", "web");
      for (const replica of [0, 1, 2]) {
        expect(logs).toContain(`here is web-${replica}`);
        const said = await fleet.on(
          machine,
          "exec",
          `web/${replica}`,
          "--",
          "sh",
          "-c",
          "hostname; echo $GREETING; exit 3",
        );
        expect(said).toMatchObject({ code: 3, out: `web-${replica}\nhello\n` });
      }
      const cohort = await fleet.cohort(machine, "web");
      expect(cohort.tolerates).toBe(1);
      expect(cohort.members.filter((member) => member.roles.includes("voter")).length).toBe(3);
    }
    const piped = await fleet.withInput("n3", "through all of it\n", "exec", "-i", "web/0", "--", "cat");
    expect(piped).toMatchObject({ code: 0, out: "through all of it\n" });
  }, 60_000);

  test("is scaled and deleted from any node", async () => {
    await fleet.text("n2", "scale", "web", "5", "--wait");
    await fleet.untilExactly("n3", "web", 5);
    await fleet.text("n3", "scale", "web", "2", "--wait");
    await fleet.untilExactly("n1", "web", 2);
    const events = (await fleet.text("n1", "events", "web", "--json"))
      .trim()
      .split("\n")
      .map((line): HistoryEvent => JSON.parse(line));
    expect(events[0]?.kind).toBe("declared");
    expect(events.filter((event) => event.kind === "scaled").length).toBe(2);
    await fleet.text("n3", "delete", "web", "--wait");
    expect(fleet.containers("web")).toEqual([]);
    for (const machine of fleet.machines) {
      expect(await fleet.json<readonly unknown[]>(machine, "ps")).toEqual([]);
      // Members of its cohort may still know its end for a while.
      const said = await fleet.on(machine, "inspect", "web", "--json");
      if (said.code === 0) expect(JSON.parse(said.out)).toMatchObject({ status: "deleted", replicas: [] });
      else expect(JSON.parse(said.errors).problem.code).toBe("not-found");
    }
  }, 60_000);

  test("an update replaces every replica, and says so", async () => {
    const manifest = (marker: string) =>
      `name: app\nimage: ${fleet.image}\nreplicas: 3\nenv: {MARKER: ${marker}}\n`;
    const write = async (marker: string): Promise<void> => {
      await Bun.write(join(fleet.directory, "app.yaml"), manifest(marker));
      await fleet.text("n2", "apply", "-f", join(fleet.directory, "app.yaml"), "--wait");
    };
    await write("one");
    await write("two");
    await fleet.untilExactly("n1", "app", 3);
    for (const replica of [0, 1, 2])
      expect(await fleet.text("n3", "exec", `app/${replica}`, "--", "sh", "-c", "echo $MARKER")).toBe(
        "two\n",
      );
    const [same] = await fleet.json<readonly Written[]>(
      "n1",
      "apply",
      "-f",
      join(fleet.directory, "app.yaml"),
    );
    expect(same).toMatchObject({ changed: false });
    await fleet.text("n1", "delete", "app", "--wait");
  }, 90_000);

  test("strangers do not get in", async () => {
    const join1 = async (invite: string) =>
      run([
        ...[binaryPath, "lab", "exec", "--dir", join(fleet.directory, "lab"), "n1", "--"],
        ...[
          "timeout",
          "10",
          binaryPath,
          "up",
          "--data-dir",
          join(fleet.directory, "stranger"),
          "--name",
          "stranger",
        ],
        ...[
          "--socket",
          join(fleet.directory, "stranger.sock"),
          "--listen",
          "10.99.0.1:7999",
          "--join",
          "10.99.0.2:7440",
          "--invite",
          invite,
        ],
      ]);
    const nonsense = await join1("nonsense");
    expect(nonsense.code).not.toBe(0);
    expect(nonsense.code).not.toBe(124);
    expect(nonsense.errors).toMatch(/invite/i);

    const { token } = await fleet.json<{ token: string }>("n3", "invite", "--ttl", "1s");
    const until1 = performance.now() + 1_100;
    await until("the invite has expired", 5_000, async () =>
      performance.now() > until1 ? undefined : "not yet",
    );
    const expired = await join1(token);
    expect(expired.code).not.toBe(0);
    expect(expired.code).not.toBe(124);
    expect(expired.errors).toMatch(/invite ended at .*ask for a new one/);
    for (const machine of fleet.machines) expect((await fleet.nodes(machine)).length).toBe(3);
  }, 60_000);

  describe("refuses, and nothing has changed", () => {
    let before = "";
    beforeAll(async () => {
      await fleet.text("n1", "run", fleet.image, "--name", "held", "-p", "8080:80", "--wait");
      before = await everything();
    }, 30_000);
    afterAll(async () => {
      await fleet.text("n1", "delete", "held", "--wait");
    }, 30_000);

    test("a bad manifest, with its place", async () => {
      const path = join(fleet.directory, "bad.yaml");
      await Bun.write(path, `name: bad\nimage: ${fleet.image}\nreplicas: many\n`);
      const said = await fleet.on("n1", "apply", "-f", path);
      expect(said.code).toBe(1);
      expect(said.errors).toContain(`${path}:3:11`);
      expect(await everything()).toBe(before);
    });

    test("a name that is taken", async () => {
      const said = await fleet.on("n2", "run", fleet.image, "--name", "held", "--json");
      expect(said.code).toBe(1);
      expect(JSON.parse(said.errors).problem.code).toBe("already-exists");
      expect(await everything()).toBe(before);
    });

    test("a command for what does not exist", async () => {
      for (const words of [
        ["scale", "ghost", "2"],
        ["delete", "ghost"],
        ["logs", "ghost"],
        ["events", "ghost"],
      ]) {
        const said = await fleet.on("n3", ...words, "--json");
        expect(said.code).toBe(1);
        expect(JSON.parse(said.errors).problem.code).toBe("not-found");
      }
      expect(await everything()).toBe(before);
    });
  });

  test("says why when a fleet is too full or a port is taken, and goes on when there is room", async () => {
    await fleet.text("n1", "run", fleet.image, "--name", "door", "-r", "3", "-p", "8081:80", "--wait");
    const before = await everything();
    const big = await fleet.on("n1", "run", fleet.image, "--name", "big", "-r", "2", "--memory", "900Ti");
    expect(big).toMatchObject({ code: 1 });
    expect(big.errors).toMatch(/3 nodes: not enough memory/);
    const late = await fleet.on("n2", "run", fleet.image, "--name", "late", "-p", "8081:80");
    expect(late).toMatchObject({ code: 1 });
    expect(late.errors).toMatch(/port 8081\/tcp is taken by default\/door/);
    expect(await everything()).toBe(before);

    // What is accepted and has no place for now waits for one.
    await fleet.text("n3", "scale", "door", "4");
    await until("it says why", 10_000, async () => {
      const { unplaced } = await fleet.inspect("n2", "door");
      return unplaced.some((reason) => /port 8081/.test(reason)) ? undefined : unplaced.join();
    });
    await fleet.text("n2", "delete", "door", "--wait");
    await fleet.text("n1", "run", fleet.image, "--name", "late", "-p", "8081:80", "--wait");
    await fleet.text("n2", "delete", "late", "--wait");
  }, 90_000);

  test("takes nothing from a registry that lies", async () => {
    const layout = join(fleet.directory, "lie");
    await mkdir(join(fleet.directory, "lie-files"));
    await writeFile(join(fleet.directory, "lie-files/file"), "what the manifest means");
    await mustRun(["umoci", "init", "--layout", layout]);
    await mustRun(["umoci", "new", "--image", `${layout}:1`]);
    await mustRun(["umoci", "insert", "--image", `${layout}:1`, join(fleet.directory, "lie-files"), "/"]);
    await mustRun(["umoci", "config", "--image", `${layout}:1`, "--config.cmd", "/file"]);
    await fleet.push(layout, "1", "lie");
    const manifest = JSON.parse(
      await fleet.inSwitch(
        "curl",
        "-sS",
        "-H",
        "Accept: application/vnd.oci.image.manifest.v1+json",
        `http://${registryHost}/v2/lie/manifests/1`,
      ),
    );
    const [, hex = ""] = manifest.layers[0].digest.split(":");
    const blob = join(fleet.registryStorage, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
    const bytes = await Bun.file(blob).bytes();
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await Bun.write(blob, bytes);
    await refusesToRun("lie", `${registryHost}/lie:1`, /digest|sha256/i);
  }, 60_000);

  test("lets no image write outside of its root", async () => {
    const outside = join(fleet.directory, "escaped");
    const layout = join(fleet.directory, "escape");
    const source = join(fleet.directory, "escape-files");
    await mkdir(source);
    await writeFile(join(source, "escaped"), "I am out");
    const up = "../".repeat(12) + fleet.directory.slice(1);
    await mustRun([
      "tar",
      "-P",
      "-C",
      source,
      "--transform",
      `s,^,${up}/,`,
      "-cf",
      join(source, "layer.tar"),
      "escaped",
    ]);
    await mustRun(["umoci", "init", "--layout", layout]);
    await mustRun(["umoci", "new", "--image", `${layout}:1`]);
    await mustRun(["umoci", "raw", "add-layer", "--image", `${layout}:1`, join(source, "layer.tar")]);
    await mustRun(["umoci", "config", "--image", `${layout}:1`, "--config.cmd", "/bin/true"]);
    const reference = await fleet.push(layout, "1", "escape");
    await refusesToRun("escape", reference, /outside|escape|\.\./i);
    expect(readdirSync(fleet.directory)).not.toContain("escaped");
    expect(await Bun.file(outside).exists()).toBe(false);
  }, 60_000);

  /** The image is not to be had: the deployment says so by each of its replicas, and can be deleted. */
  async function refusesToRun(name: string, image: string, why: RegExp): Promise<void> {
    await fleet.text("n1", "run", image, "--name", name, "-r", "2");
    await until(`${name} says why`, 15_000, async () => {
      const { replicas } = await fleet.inspect("n2", name);
      const said = replicas.map((replica) => replica.message ?? "");
      return said.length > 0 && said.every((message) => why.test(message)) ? undefined : said.join(" | ");
    });
    expect(fleet.containers(name)).toEqual([]);
    await fleet.text("n3", "delete", name, "--wait");
  }
});

describe.skipIf(missing.length > 0)("small fleets", () => {
  test.each([
    [1, 0, /loss/i],
    [2, 0, /two nodes/],
  ])(
    "%d nodes say what they tolerate",
    async (machines, tolerates, words) => {
      const fleet = await Fleet.up(`e2esml${machines}`, machines);
      try {
        const [written] = await fleet.json<readonly Written[]>(
          "n1",
          "run",
          fleet.image,
          "--name",
          "web",
          "-r",
          "2",
          "--wait",
        );
        expect(written?.notes.join()).toMatch(words);
        const cohort = await fleet.cohort("n1", "web");
        expect(cohort.tolerates).toBe(tolerates);
        await fleet.untilExactly("n1", "web", 2);
        await fleet.text("n1", "delete", "web", "--wait");
      } finally {
        await fleet.down();
      }
    },
    60_000,
  );
});
