import { hostname } from "node:os";
import { ProblemError } from "../../model/problem.ts";
import { shortId } from "../../model/ids.ts";
import type { NodeOptions } from "../../node/options.ts";
import { parsePortNumber } from "../manifest/fields.ts";
import { parseCpu, parseMemory } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import {
  defaultPort,
  flag,
  flags,
  parseAddress,
  parseAddresses,
  parseLabel,
  parseNodeName,
  parseRegistry,
} from "./flags.ts";
import { selfCommand } from "./self-command.ts";
import { show, socketOf, type AgentFlags, type Program } from "./root.ts";
import type { UpConfig } from "./up-config.ts";
import { commit, version } from "./version.ts";

/** Milliseconds that requests under way get when the agent ends. */
const apiGraceMs = 1000;

interface UpFlags extends AgentFlags {
  readonly json?: true;
  readonly config?: string;
  readonly join: readonly (readonly string[])[];
  readonly invite?: string;
  readonly listen?: string;
  readonly advertise?: string;
  readonly name?: string;
  readonly zone?: string;
  readonly label: readonly (readonly [string, string])[];
  readonly cpu?: number;
  readonly memory?: number;
  readonly plainHttpRegistry: readonly string[];
  readonly cgroupParent?: string;
  readonly apiPort?: number;
}

export function registerUp(program: Program, context: CliContext): void {
  program
    .command("up")
    .option("--config <file>", "settings from a YAML file; flags come before it")
    .option(
      "--join <addresses>",
      "members of the fleet to join, with commas; may be repeated",
      flags(parseAddresses),
      [],
    )
    .option("--invite <token>", "what lets this machine join (default: $MUSTER_INVITE)")
    .option("--listen <address>", `address to bind (default: [::]:${defaultPort})`, flag(parseAddress))
    .option(
      "--advertise <address>",
      "address the others use, when it is not the one bound",
      flag(parseAddress),
    )
    .option("--name <name>", "name of this node (default: the host's)", flag(parseNodeName))
    .option("--zone <zone>", "where this machine stands", flag(parseNodeName))
    .option("--label <key=value>", "label of this node; may be repeated", flags(parseLabel), [])
    .option("--cpu <amount>", "CPU to offer instead of what the machine has", flag(parseCpu))
    .option("--memory <amount>", "memory to offer instead of what the machine has", flag(parseMemory))
    .option(
      "--plain-http-registry <host:port>",
      "registry that is spoken to without TLS; may be repeated",
      flags(parseRegistry),
      [],
    )
    .option("--cgroup-parent <path>", "control group above those of all containers (default: /muster/NODE)")
    .option(
      "--api-port <port>",
      "also serve the API on 127.0.0.1, to every user of this machine",
      flag(parsePortNumber),
    )
    .option("--detach", "go on in the background and return when the agent is ready")
    .action(async (options, command) => {
      const given = command.optsWithGlobals();
      const { isAnswering, checkSocketPath } = await import("../api/socket-file.ts");
      const socketPath = socketOf(given, context);
      checkSocketPath(socketPath);
      if (await isAnswering(socketPath))
        throw new ProblemError({
          code: "conflict",
          message: `an agent already answers on ${socketPath}`,
          next: "muster status shows it; another one needs a --data-dir of its own",
        });
      const config = await readConfig(given.config);
      const { claimDataDirectory } = await import("../../node/data-directory.ts");
      claimDataDirectory(given.dataDir);
      if (options.detach === true) {
        const { startDetached } = await import("./detach.ts");
        await startDetached(context, given, socketPath);
      } else await serve(context, given, socketPath, config);
    });
}

async function readConfig(path: string | undefined): Promise<UpConfig> {
  if (path === undefined) return {};
  const file = Bun.file(path);
  if (!(await file.exists())) throw usageFailure(`there is no configuration file ${path}`);
  const { parseUpConfig } = await import("./up-config.ts");
  const config = parseUpConfig(await file.text(), path);
  if (!config.ok) throw new ProblemError(config.error);
  return config.value;
}

/** Defaults, then the file, then the flags. */
export function nodeOptions(given: UpFlags, config: UpConfig, env: CliContext["env"]): NodeOptions {
  const advertise = given.advertise ?? config.advertise;
  const invite = given.invite ?? env["MUSTER_INVITE"] ?? config.invite;
  const zone = given.zone ?? config.zone;
  const cpuMillis = given.cpu ?? config.cpu;
  const memoryBytes = given.memory ?? config.memory;
  const cgroupParent = given.cgroupParent ?? config.cgroupParent;
  const labels = (config.labels ?? []).map((text) => text.split("=", 2));
  const registries = given.plainHttpRegistry;
  return {
    dataDirectory: given.dataDir,
    listen: given.listen ?? config.listen ?? `[::]:${defaultPort}`,
    ...(advertise === undefined ? {} : { advertise }),
    join: given.join.length > 0 ? given.join.flat() : (config.join ?? []),
    ...(invite === undefined ? {} : { invite }),
    name: given.name ?? config.name ?? hostname(),
    ...(zone === undefined ? {} : { zone }),
    labels: Object.fromEntries([...labels, ...given.label]),
    ...(cpuMillis === undefined ? {} : { cpuMillis }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(cgroupParent === undefined ? {} : { cgroupParent }),
    selfCommand: selfCommand(),
    plainHttpRegistries: registries.length > 0 ? registries : (config.plainHttpRegistries ?? []),
    version,
    commit,
  };
}

/** Runs the agent until it is told to end; its containers go on after it. */
async function serve(
  context: CliContext,
  given: UpFlags,
  socketPath: string,
  config: UpConfig,
): Promise<void> {
  const [{ startNode }, { createApi }] = await Promise.all([
    import("../../node/compose.ts"),
    import("../api/server.ts"),
  ]);
  const node = await startNode(nodeOptions(given, config, context.env));
  const apiPort = given.apiPort ?? config.apiPort;
  try {
    const api = await createApi(node.api, {
      socketPath,
      ...(apiPort === undefined ? {} : { loopback: { hostname: "127.0.0.1", port: apiPort } }),
    });
    try {
      await show(
        context,
        given,
        node.api.status(),
        (status) => `${status.name} (${shortId(status.id)}) is ready; the API is on ${socketPath}\n`,
      );
      await Promise.race([node.closed, aborted(context.console.interrupted)]);
    } finally {
      await api.close(apiGraceMs);
    }
  } finally {
    await node.close();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
