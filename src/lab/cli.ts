/** `muster lab`: the commands around a fleet on one machine. */
import { rmdirSync } from "node:fs";
import { join } from "node:path";
import type { CliContext } from "../edge/cli/console.ts";
import { selfCommand } from "../edge/cli/self-command.ts";
import { CommandFailure, usageFailure } from "../edge/cli/failure.ts";
import { flag, flags, parseCount, parseRegistry } from "../edge/cli/flags.ts";
import { show, type Program } from "../edge/cli/root.ts";
import { formatTable } from "../edge/cli/table.ts";
import { reportLabErrors } from "./failure.ts";
import type { LabPlace } from "./lab-file.ts";
import { Lab, machinesMax, switchName, type MachineStatus } from "./lab.ts";

const machinesDefault = 3;
const defaultName = "lab";
const labsDirectory = "/var/lib/muster-lab";

export interface LabFlags {
  readonly dir?: string;
  readonly name?: string;
}

export function placeOf(flags: LabFlags, env: CliContext["env"]): LabPlace {
  const named = env["MUSTER_LAB"];
  if (flags.name === undefined && named !== undefined && !parseLabName(named).ok)
    throw usageFailure("$MUSTER_LAB is not a name of 1 to 8 lower-case letters and digits");
  const name = flags.name ?? named ?? defaultName;
  return { name, directory: flags.dir ?? join(labsDirectory, name) };
}

export function parseLabName(text: string) {
  return /^[a-z0-9]{1,8}$/.test(text)
    ? ({ ok: true, value: text } as const)
    : ({ ok: false, error: "is not a name of 1 to 8 lower-case letters and digits" } as const);
}

/** Makes a sub-command of `lab`, with the options that say which lab. */
function labCommands(program: Program) {
  const lab = program.command("lab");
  return (name: string, description: string) =>
    lab
      .command(name)
      .description(description)
      .option("--name <name>", `which lab (default: $MUSTER_LAB, or ${defaultName})`, flag(parseLabName))
      .option("--dir <dir>", `where its disks are (default: ${labsDirectory}/NAME)`);
}

export function registerLab(program: Program, context: CliContext): void {
  const command = labCommands(program);

  command("up", "boot machines on this one and form a fleet of them")
    .argument("[machines]", "how many", flag(parseCount), machinesDefault)
    .option(
      "--plain-http-registry <host:port>",
      "registry that is spoken to without TLS; may be repeated",
      flags(parseRegistry),
      [],
    )
    .action(async (machines, options, self) => {
      if (machines < 1 || machines > machinesMax)
        throw usageFailure(`a lab has 1 to ${machinesMax} machines`);
      if (process.getuid?.() !== 0) throw usageFailure("a lab needs root: network namespaces and mounts");
      const given = self.optsWithGlobals();
      await reportLabErrors(async () => {
        const signal = context.console.interrupted;
        const made = Lab.up(placeOf(given, context.env), {
          machines,
          binary: selfCommand(),
          plainHttpRegistries: options.plainHttpRegistry,
          signal,
        });
        const up = await made.catch((error: unknown) => {
          if (!signal.aborted) throw error;
          throw new CommandFailure({
            code: "interrupted",
            message: "interrupted; nothing is left of the lab",
          });
        });
        await show(context, given, await up.status(), formatStatus);
      });
    });

  command("status", "show the machines of the lab").action(async (_options, self) => {
    const given = self.optsWithGlobals();
    await reportLabErrors(async () => {
      await show(context, given, await Lab.open(placeOf(given, context.env)).status(), formatStatus);
    });
  });

  command("down", "end the lab and leave nothing behind").action(async (_options, self) => {
    const given = self.optsWithGlobals();
    await reportLabErrors(async () => {
      const place = placeOf(given, context.env);
      const isGone = await Lab.down(place);
      removeEmpty(labsDirectory);
      await show(context, given, { name: place.name, removed: isGone }, ({ removed }) =>
        removed ? "the lab is gone\n" : "there was no lab\n",
      );
    });
  });

  command("exec", "run a command on a machine of the lab")
    .argument("<machine>", `such as n1, or ${switchName} for the network between the machines`)
    .argument("<command...>", "what to run; put -- before it. muster as the first word is this program")
    .action(async (machine, words, _options, self) => {
      const given = self.optsWithGlobals();
      await reportLabErrors(async () => {
        const args = Lab.open(placeOf(given, context.env)).wordsFor(machine, words, process.cwd());
        const child = Bun.spawn([...args], { stdio: ["inherit", "inherit", "inherit"] });
        const code = await child.exited;
        context.exitCode = code;
      });
    });

  registerChanges(command, context);
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // It was never made, or another lab is in it.
  }
}

/** The commands that break machines and links, and mend them. */
function registerChanges(command: ReturnType<typeof labCommands>, context: CliContext): void {
  /** A command that changes machines, and says that it is done. */
  const change = async (
    given: LabFlags & { readonly json?: true },
    done: string,
    act: (lab: Lab) => Promise<void>,
  ) =>
    reportLabErrors(async () => {
      await act(Lab.open(placeOf(given, context.env)));
      await show(context, given, { done }, () => `${done}\n`);
    });

  command("kill", "cut a machine's power: agent and containers die at once")
    .argument("<machine>")
    .action(async (machine, _options, self) =>
      change(self.optsWithGlobals(), `${machine} is off`, (lab) => lab.kill(machine)),
    );
  command("start", "give a machine power again, with its disk as it was")
    .argument("<machine>")
    .action(async (machine, _options, self) =>
      change(self.optsWithGlobals(), `${machine} is on, its agent answers`, (lab) => lab.start(machine)),
    );
  command("kill-agent", "kill only a machine's agent; its containers go on")
    .argument("<machine>")
    .action(async (machine, _options, self) =>
      change(self.optsWithGlobals(), `the agent of ${machine} is dead`, (lab) => lab.killAgent(machine)),
    );
  command("start-agent", "start a machine's agent again")
    .argument("<machine>")
    .action(async (machine, _options, self) =>
      change(self.optsWithGlobals(), `the agent of ${machine} answers`, (lab) => lab.startAgent(machine)),
    );
  command("cut", "cut a machine off from another, or from all")
    .argument("<machine>")
    .argument("[other]")
    .action(async (machine, other, _options, self) =>
      change(
        self.optsWithGlobals(),
        `${machine} and ${other ?? "all others"} do not hear each other`,
        (lab) => lab.cut(machine, other),
      ),
    );
  command("heal", "mend what was cut: between two machines, around one, or everywhere")
    .argument("[machine]")
    .argument("[other]")
    .action(async (machine, other, _options, self) =>
      change(
        self.optsWithGlobals(),
        `${machine ?? "all"} and ${other ?? "all others"} hear each other`,
        (lab) => lab.heal(machine, other),
      ),
    );
}

function formatStatus(machines: readonly MachineStatus[]): string {
  return formatTable(
    ["MACHINE", "ADDRESS", "POWER", "AGENT", "CONTAINERS", "CUT FROM", "LOG"],
    machines.map((one) => [
      one.name,
      one.address,
      one.power,
      one.agent,
      String(one.containers),
      one.cutFrom.join(","),
      one.log,
    ]),
  );
}
