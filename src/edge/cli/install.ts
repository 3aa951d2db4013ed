/** `install` and `uninstall`: the agent as a service of systemd. */
import { chmod, mkdir, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { dirname, isAbsolute } from "node:path";
import { ProblemError } from "../../model/problem.ts";
import type { CliContext } from "./console.ts";
import { CommandFailure, usageFailure } from "./failure.ts";
import { show, type Program } from "./root.ts";
import { selfCommand } from "./self-command.ts";
import { systemdUnit, unitMark } from "./systemd-unit.ts";

const unitPathDefault = "/etc/systemd/system/muster.service";
const systemctlTimeoutMs = 60_000;

export interface ServiceAnswer {
  readonly unit: string;
  readonly changed: boolean;
  /** Whether systemd runs the service now; false also where no systemd runs. */
  readonly started: boolean;
  readonly note?: string;
}

export function registerInstall(program: Program, context: CliContext): void {
  program
    .command("install")
    .argument("[flags...]", "flags of `muster up` for the service; put -- before them")
    .option("--dry-run", "print the unit and change nothing")
    .option("--no-start", "neither enable nor start it")
    .option("--unit <path>", "where the unit is written", unitPathDefault)
    .action(async (flags, options, command) => {
      const given = command.optsWithGlobals();
      if (!isAbsolute(given.dataDir)) throw usageFailure("--data-dir of a service is an absolute path");
      const control = [...flags, given.dataDir].find((word) => /\p{Cc}/u.test(word));
      if (control !== undefined)
        throw usageFailure(`${JSON.stringify(control)} holds a control character, which no unit can carry`);
      await checkFlags(flags, context);
      const unit = systemdUnit({ command: selfCommand(), dataDirectory: given.dataDir, flags });
      if (options.dryRun === true) {
        await context.console.write(given.json === true ? `${JSON.stringify({ unit })}\n` : unit);
        return;
      }
      const answer = await install(unit, options.unit, options.start);
      await show(context, given, answer, ({ started, note, changed }) =>
        [
          `${options.unit}: ${changed ? "written" : "unchanged"}`,
          started ? "the agent is enabled and started; muster status shows it" : (note ?? "not started"),
          "",
        ].join("\n"),
      );
    });
}

export function registerUninstall(program: Program, context: CliContext): void {
  program
    .command("uninstall")
    .option("--unit <path>", "where the unit is", unitPathDefault)
    .action(async (options, command) => {
      const given = command.optsWithGlobals();
      const answer = await uninstall(options.unit);
      await show(context, given, answer, ({ changed, note }) =>
        changed
          ? `${options.unit}: removed; containers run on, and the next agent on ${given.dataDir} adopts them\n`
          : `${note ?? ""}\n`,
      );
    });
}

/** A flag that `up` does not know would be found out by a service that restarts for ever. */
async function checkFlags(flags: readonly string[], context: CliContext): Promise<void> {
  if (flags.length === 0) return;
  const { createProgram } = await import("./program.ts");
  const words = ["up", ...flags, "--show-config"];
  const quiet: CliContext = {
    ...context,
    console: { ...context.console, write: async () => {}, complain: async () => {} },
  };
  let complaint = "";
  const program = await createProgram(words, quiet, {
    out: () => {},
    error: (text) => (complaint += text),
  });
  try {
    await program.parseAsync(words, { from: "user" });
  } catch (error) {
    if (complaint === "") throw error;
    throw usageFailure(
      `muster up would refuse these flags: ${
        complaint
          .trim()
          .replace(/^error: /, "")
          .split("\n")[0] ?? ""
      }`,
      "muster up --help shows what it takes",
    );
  }
}

async function install(unit: string, path: string, isToStart: boolean): Promise<ServiceAnswer> {
  const before = await unitAt(path);
  const changed = before !== unit;
  try {
    if (changed) await replaceFile(path, unit);
  } catch (error) {
    throw new ProblemError(
      {
        code: "internal",
        message: `cannot write ${path}: ${error instanceof Error ? error.message : String(error)}`,
        next: "run it as root, or print the unit with --dry-run and put it where it belongs",
      },
      { cause: error },
    );
  }
  if (!isToStart) return { unit: path, changed, started: false, note: "not started, as asked" };
  if (!hasSystemd())
    return {
      unit: path,
      changed,
      started: false,
      note: "no systemd runs on this machine, so nothing was started; muster up --detach starts an agent",
    };
  await systemctl("daemon-reload");
  // An agent that runs keeps its containers over a restart; one that was started by hand has to make room first.
  await systemctl("enable", "--now", nameOf(path));
  return { unit: path, changed, started: true };
}

async function uninstall(path: string): Promise<ServiceAnswer> {
  if ((await unitAt(path)) === undefined)
    return { unit: path, changed: false, started: false, note: `there is no ${path}; nothing was changed` };
  if (hasSystemd()) await systemctl("disable", "--now", nameOf(path));
  await unlink(path);
  if (hasSystemd()) await systemctl("daemon-reload");
  return { unit: path, changed: true, started: false };
}

/** The unit that is there; throws when somebody else wrote it. */
async function unitAt(path: string): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  const text = await readFile(path, "utf8");
  if (text.startsWith(unitMark)) return text;
  throw new ProblemError({
    code: "conflict",
    message: `${path} was not written by muster install`,
    next: "move it away, or name another file with --unit",
  });
}

/** Whole or not at all, whatever happens on the way. */
async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const aside = `${path}.${process.pid}.new`;
  await writeFile(aside, text, { mode: 0o644 });
  await chmod(aside, 0o644);
  await rename(aside, path);
}

/** As sd_booted(3) finds it out. */
function hasSystemd(): boolean {
  return existsSync("/run/systemd/system");
}

function nameOf(path: string): string {
  return path.split("/").at(-1) ?? path;
}

async function systemctl(...words: readonly string[]): Promise<void> {
  const child = Bun.spawn(["systemctl", ...words], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: systemctlTimeoutMs,
  });
  const [errors, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  if (code === 0) return;
  throw new CommandFailure({
    code: "internal",
    message: `systemctl ${words.join(" ")} ended with ${code}: ${errors.trim()}`,
    next: "systemctl status muster and journalctl -u muster say more",
  });
}
