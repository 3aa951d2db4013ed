/** Copying into and out of real containers, friendly and hostile ones, and joining one that has a terminal. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OciRuntime } from "../../src/adapters/runtimes/oci/oci-runtime.ts";
import { RuntimeError } from "../../src/ports/container-runtime.ts";
import { gather, pieces } from "../contract/container-streams-suite.ts";
import { eventually } from "../contract/eventually.ts";
import { canRun, containerPrograms } from "./machine-needs.ts";
import { makeOciRig, type OciRig } from "./oci-rig.ts";

const forever = ["/bin/sh", "-c", "while :; do sleep 1000; done"];

if (canRun("copying and attaching", [...containerPrograms, "tar"]))
  describe("copying and attaching", () => {
    let rig: OciRig;
    let runtime: OciRuntime;
    let here: string;
    beforeEach(async () => {
      rig = makeOciRig();
      runtime = rig.open();
      here = mkdtempSync(join(tmpdir(), "muster-copy-"));
    });
    afterEach(async () => {
      await runtime.close();
      await rig.dispose();
      rmSync(here, { recursive: true, force: true });
    });

    const run = async (id: string, args = forever, changes: object = {}): Promise<void> => {
      await runtime.create({ ...rig.spec(id, args), ...changes });
      await runtime.start(id);
    };
    const sh = async (id: string, script: string): Promise<string> => {
      const session = await runtime.exec(id, { args: ["/bin/sh", "-c", script], env: [] });
      const chunks: Uint8Array[] = [];
      for await (const { data } of session.output) chunks.push(data.slice());
      return Buffer.concat(chunks).toString();
    };
    const packed = async (...names: readonly string[]): Promise<Uint8Array> =>
      Bun.$`tar --create --numeric-owner --file=- --directory=${here} -- ${names}`
        .quiet()
        .then(({ stdout }) => stdout);
    const unpacked = async (bytes: Uint8Array): Promise<string> => {
      const to = join(here, "out");
      mkdirSync(to);
      await Bun.write(join(here, "out.tar"), bytes);
      await Bun.$`tar --extract --same-owner --same-permissions --file=${join(here, "out.tar")} --directory=${to}`.quiet();
      return to;
    };
    const rejection = async (attempt: Promise<unknown>): Promise<RuntimeError> => {
      try {
        await attempt;
      } catch (error) {
        if (error instanceof RuntimeError) return error;
        throw error;
      }
      throw new Error("expected a RuntimeError, and it succeeded");
    };

    test("owners, modes, times, links and odd names survive both ways", async () => {
      await run("both");
      const script = [
        "mkdir -p /data/deep/er && cd /data && echo one > plain && chown 12:34 plain && chmod 4750 plain",
        "ln -s ../elsewhere link && ln plain twin && touch 'with space' $(printf 'bad\\377name')",
        `echo long > ${"n".repeat(200)} && touch -d '2001-02-03 04:05:06' plain && chmod 0500 deep`,
        "busybox mkfifo pipe && busybox dd if=/dev/zero of=big bs=1000 count=1234 2>/dev/null",
      ].join(" && ");
      await sh("both", script);
      const to = await unpacked(await gather(await runtime.copyOut("both", "/data")));
      const listing =
        // The size of a directory is the file system's affair.
        'busybox find . | busybox sort | while read -r f; do s=%s; [ ! -d "$f" ] || s=-; busybox stat -c "%n %a %u %g $s %Y %F" "$f"; done';
      const outside = await Bun.$`sh -c ${listing}`.cwd(join(to, "data")).quiet();
      const inside = await sh("both", `cd /data && ${listing}`);
      expect(outside.stdout.toString()).toBe(inside);
      expect(inside).toContain("./plain 4750 12 34 4 981173106 regular file");
      expect(readFileSync(join(to, "data/big")).length).toBe(1_234_000);
      const archive =
        await Bun.$`tar --create --numeric-owner --exclude=pipe --file=- --directory=${to} data`.quiet();
      await runtime.copyIn("both", "/again", pieces(archive.stdout));
      expect(await sh("both", `cd /again && ${listing}`)).toBe(
        inside
          .split("\n")
          .filter((line) => !line.startsWith("./pipe "))
          .join("\n"),
      );
    });

    test("into a directory, under a new name, over a file, and into what is mounted", async () => {
      writeFileSync(join(here, "note"), "first\n");
      await run("target");
      await runtime.copyIn("target", "/tmp", pieces(await packed("note")));
      await runtime.copyIn("target", "/tmp/renamed", pieces(await packed("note")));
      writeFileSync(join(here, "note"), "second\n");
      await runtime.copyIn("target", "/tmp/", pieces(await packed("note")));
      expect(await sh("target", "cat /tmp/note /tmp/renamed")).toBe("second\nfirst\n");
      await runtime.copyIn("target", "/etc/hostname", pieces(await packed("note")));
      expect(await sh("target", "cat /etc/hostname")).toBe("second\n");
      expect(
        (await rejection(runtime.copyIn("target", "/no/such/place", pieces(await packed("note"))))).message,
      ).toContain("there is no directory /no/such");
      expect(
        (await rejection(runtime.copyIn("target", "/tmp/none/", pieces(await packed("note"))))).info.code,
      ).toBe("bad-path");
    });

    test("owners are the program's own in a user namespace, while it runs and after", async () => {
      writeFileSync(join(here, "mine"), "m");
      chownSync(join(here, "mine"), 7, 8);
      await run("shifted", ["/bin/sh", "-c", "read end"], { userNamespace: true, stdin: true });
      await runtime.copyIn("shifted", "/tmp", pieces(await packed("mine")));
      expect(await sh("shifted", "busybox stat -c '%u %g' /tmp/mine")).toBe("7 8\n");
      const ownerOf = async (): Promise<string> => {
        const to = await unpacked(await gather(await runtime.copyOut("shifted", "/tmp/mine")));
        const { uid, gid } = statSync(join(to, "mine"));
        rmSync(to, { recursive: true });
        return `${uid} ${gid}`;
      };
      expect(await ownerOf()).toBe("7 8");
      await runtime.signal("shifted", 9);
      await eventually("it ended", async () =>
        (await runtime.list()).find(({ phase }) => phase === "exited"),
      );
      expect(await ownerOf()).toBe("7 8");
    });

    test("what ended can be looked at", async () => {
      await run("over", ["/bin/sh", "-c", "echo left > /left"]);
      await eventually("over ended", async () =>
        (await runtime.list()).find(({ phase }) => phase === "exited"),
      );
      const to = await unpacked(await gather(await runtime.copyOut("over", "/left")));
      expect(readFileSync(join(to, "left"), "utf8")).toBe("left\n");
    });

    test("no link of the container leads to the machine", async () => {
      writeFileSync(join(here, "secret"), "the machine's\n");
      writeFileSync(join(here, "gift"), "from outside\n");
      await run("hostile");
      await sh(
        "hostile",
        `mkdir -p /x${here} && ln -s ${here} /way && ln -s /../../../../../..${here} /up && ln -s /proc/1/root${here} /round`,
      );
      for (const path of ["/way/secret", "/up/secret", "/round/secret", `/../../..${here}/secret`]) {
        expect((await rejection(runtime.copyOut("hostile", path).then(gather))).info.code).toBe("bad-path");
        await rejection(runtime.copyIn("hostile", path, pieces(await packed("gift"))));
      }
      expect(readFileSync(join(here, "secret"), "utf8")).toBe("the machine's\n");
      await sh("hostile", `ln -s ${here}/secret /bait`);
      await runtime.copyIn("hostile", "/bait", pieces(await packed("gift")));
      expect(readFileSync(join(here, "secret"), "utf8")).toBe("the machine's\n");
      expect(await sh("hostile", "cat /bait")).toBe("from outside\n");
    });

    test("no archive leads out of the container, and none brings a device", async () => {
      await run("guarded");
      const evil = join(here, "evil");
      mkdirSync(evil);
      writeFileSync(join(evil, "x"), "x");
      const up =
        await Bun.$`tar --create --absolute-names --file=- --directory=${evil} --transform=s,^,../../, x`.quiet();
      expect((await rejection(runtime.copyIn("guarded", "/tmp", pieces(up.stdout)))).info.code).toBe(
        "bad-path",
      );
      symlinkSync(here, join(evil, "link"));
      mkdirSync(join(here, "second/link"), { recursive: true });
      writeFileSync(join(here, "second/link/planted"), "planted");
      const first = await Bun.$`tar --create --file=- --directory=${evil} link`.quiet();
      await runtime.copyIn("guarded", "/tmp", pieces(first.stdout));
      const second =
        await Bun.$`tar --create --file=- --directory=${join(here, "second")} link/planted`.quiet();
      await rejection(runtime.copyIn("guarded", "/tmp", pieces(second.stdout)));
      expect(existsSync(join(here, "planted"))).toBe(false);
      await Bun.$`mknod ${join(evil, "null")} c 1 3`.quiet();
      const device = await Bun.$`tar --create --file=- --directory=${evil} null`.quiet();
      expect((await rejection(runtime.copyIn("guarded", "/tmp", pieces(device.stdout)))).message).toContain(
        "device",
      );
    });

    test("an archive that ends in its middle is a failure", async () => {
      writeFileSync(join(here, "note"), "x".repeat(5_000));
      await run("cut");
      const half = (await packed("note")).subarray(0, 2_000);
      await rejection(runtime.copyIn("cut", "/tmp", pieces(half)));
    });

    test("a program with a terminal: its size, its keys, and the next one who joins", async () => {
      await run("tty", ["/bin/sh"], { terminal: true, stdin: true });
      const session = await runtime.attach("tty", { columns: 91, rows: 33 });
      const output = session.output[Symbol.asyncIterator]();
      let text = "";
      const until = async (wanted: string): Promise<void> => {
        while (!text.includes(wanted)) {
          const next = await output.next();
          if (next.done === true) throw new Error(`ended before ${wanted}: ${text}`);
          text += new TextDecoder().decode(next.value.data);
        }
      };
      await session.write(Buffer.from("stty size\n"));
      await until("33 91\r\n");
      session.resize(70, 20);
      await session.write(Buffer.from("stty size\n"));
      await until("20 70\r\n");
      session.kill();
      const second = await runtime.attach("tty", { columns: 80, rows: 24 });
      await second.write(Buffer.from("exit 5\n"));
      for await (const _chunk of second.output);
      expect(await second.exitCode).toBe(5);
    });

    test("who does not read is let go of, and told so; the program goes on", async () => {
      await run("flood", ["/bin/sh", "-c", "read go; yes flood | head -n 8000000; read end"], {
        stdin: true,
      });
      const session = await runtime.attach("flood");
      await session.write(Buffer.from("go\n"));
      await expect(session.exitCode).rejects.toThrow("was not read in time");
      expect((await runtime.list())[0]?.phase).toBe("running");
    });

    test("a burst of output arrives whole and in order", async () => {
      await run("burst", ["/bin/sh", "-c", "read go; seq 1 20000; echo done"], { stdin: true });
      const session = await runtime.attach("burst");
      await session.write(Buffer.from("go\n"));
      let text = "";
      for await (const { data } of session.output) text += new TextDecoder().decode(data);
      expect(text).toBe(`${Array.from({ length: 20_000 }, (_, at) => at + 1).join("\n")}\ndone\n`);
      expect(await session.exitCode).toBe(0);
    });
  });
