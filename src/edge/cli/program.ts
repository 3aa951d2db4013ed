/** The command table. A command's file is loaded only when its name is on the command line. */
import { createRoot, type Program } from "./root.ts";
import type { CliContext } from "./console.ts";
import { exampleWords, rootHelp } from "./examples.ts";

type Register = (program: Program, context: CliContext) => void;

export interface CommandEntry {
  readonly name: string;
  readonly description: string;
  readonly load: () => Promise<Register>;
}

export const commands: readonly CommandEntry[] = [
  {
    name: "up",
    description: "start this machine's agent: found a fleet, or join one",
    load: async () => (await import("./up.ts")).registerUp,
  },
  {
    name: "down",
    description: "leave the fleet, stop what runs here, end the agent",
    load: async () => (await import("./down.ts")).registerDown,
  },
  {
    name: "status",
    description: "show the agent that answers",
    load: async () => (await import("./status.ts")).registerStatus,
  },
  {
    name: "invite",
    description: "make a token with which machines join",
    load: async () => (await import("./invite.ts")).registerInvite,
  },
  {
    name: "nodes",
    description: "list the machines of the fleet",
    load: async () => (await import("./nodes.ts")).registerNodes,
  },
  {
    name: "run",
    description: "run an image as a new deployment",
    load: async () => (await import("./run.ts")).registerRun,
  },
  {
    name: "apply",
    description: "create or change deployments from manifest files",
    load: async () => (await import("./apply.ts")).registerApply,
  },
  {
    name: "plan",
    description: "show what apply would change, and change nothing",
    load: async () => (await import("./plan.ts")).registerPlan,
  },
  {
    name: "explain",
    description: "describe the fields of a manifest",
    load: async () => (await import("./explain.ts")).registerExplain,
  },
  {
    name: "ps",
    description: "list deployments and their replicas",
    load: async () => (await import("./ps.ts")).registerPs,
  },
  {
    name: "inspect",
    description: "show one deployment in full",
    load: async () => (await import("./inspect.ts")).registerInspect,
  },
  {
    name: "scale",
    description: "change how many replicas a deployment has",
    load: async () => (await import("./scale.ts")).registerScale,
  },
  {
    name: "logs",
    description: "print what replicas wrote",
    load: async () => (await import("./logs.ts")).registerLogs,
  },
  {
    name: "exec",
    description: "run a command inside a replica",
    load: async () => (await import("./exec.ts")).registerExec,
  },
  {
    name: "attach",
    description: "join the program of a replica",
    load: async () => (await import("./attach.ts")).registerAttach,
  },
  {
    name: "cp",
    description: "copy files into a replica, or out of it",
    load: async () => (await import("./cp.ts")).registerCp,
  },
  {
    name: "stats",
    description: "show what replicas use",
    load: async () => (await import("./stats.ts")).registerStats,
  },
  {
    name: "top",
    description: "show what machines and replicas use, the busiest first",
    load: async () => (await import("./top.ts")).registerTop,
  },
  {
    name: "events",
    description: "print the history of a deployment",
    load: async () => (await import("./events.ts")).registerEvents,
  },
  {
    name: "promises",
    description: "list what nodes have promised",
    load: async () => (await import("./promises.ts")).registerPromises,
  },
  {
    name: "cohort",
    description: "show the nodes that keep a deployment",
    load: async () => (await import("./cohort.ts")).registerCohort,
  },
  {
    name: "image",
    description: "pull, list, remove and move the images of this node",
    load: async () => (await import("./image.ts")).registerImage,
  },
  {
    name: "restart",
    description: "restart a deployment, replica by replica, or one replica in place",
    load: async () => (await import("./restart.ts")).registerRestart,
  },
  {
    name: "stop",
    description: "end all replicas of a deployment and keep its declaration",
    load: async () => (await import("./stop.ts")).registerStop,
  },
  {
    name: "delete",
    description: "end a deployment for good",
    load: async () => (await import("./delete.ts")).registerDelete,
  },
  {
    name: "doctor",
    description: "check whether this machine can run an agent, and say what to install or do",
    load: async () => (await import("./doctor.ts")).registerDoctor,
  },
  {
    name: "install",
    description: "make the agent a service of systemd",
    load: async () => (await import("./install.ts")).registerInstall,
  },
  {
    name: "uninstall",
    description: "take the service away again",
    load: async () => (await import("./install.ts")).registerUninstall,
  },
  {
    name: "completion",
    description: "print the completion script of a shell",
    load: async () => (await import("./completion.ts")).registerCompletion,
  },
  {
    name: "lab",
    description: "run a fleet of several machines on this one",
    load: async () => (await import("../../lab/cli.ts")).registerLab,
  },
  {
    name: "chaos",
    description: "break a deployment of the lab and measure until it is whole",
    load: async () => (await import("../../lab/chaos-cli.ts")).registerChaos,
  },
];

/** The program for one command line; `output` gets commander's own words. */
export async function createProgram(
  argv: readonly string[],
  context: CliContext,
  output: { readonly out: (text: string) => void; readonly error: (text: string) => void },
): Promise<Program> {
  const program = createRoot(context.env);
  program.exitOverride().configureOutput({ writeOut: output.out, writeErr: output.error });
  const end = argv.indexOf("--");
  const named = new Set(end < 0 ? argv : argv.slice(0, end));
  // A script of completions lists the options of all commands.
  const isWhole = named.has("completion");
  for (const { name, description, load } of commands) {
    if (isWhole || named.has(name)) (await load())(program, context);
    else program.command(name);
    const command = program.commands.find((one) => one.name() === name);
    command?.description(description).addHelpText("after", () => exampleWords(name));
  }
  return program.addHelpText("after", rootHelp);
}
