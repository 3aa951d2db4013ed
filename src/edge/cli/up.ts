import { Option } from "@commander-js/extra-typings";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { ProblemError } from "../../model/problem.ts";
import { shortId } from "../../model/ids.ts";
import { parsePortNumber } from "../manifest/fields.ts";
import { parseCpu, parseMemory } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import {
  defaultPort,
  flag,
  flags,
  logFormats,
  logLevels,
  parseAddress,
  parseAddresses,
  listenAddressOf,
  parseLabel,
  parseListen,
  parseNodeName,
  parseRegistry,
  type LogFormat,
  type LogLevel,
} from "./flags.ts";
import { show, socketOf, type AgentFlags, type Program } from "./root.ts";
import type { UpConfig } from "./up-config.ts";
import type { Settings } from "./up-settings.ts";

/** Milliseconds that requests under way get when the agent ends. */
const apiGraceMs = 1000;
/** How long an agent that is in the way is asked who it is. */
const whoTimeoutMs = 1000;
/** Read when it exists and no other one is named. */
export const defaultConfigPath = "/etc/muster/muster.yaml";

export interface UpFlags extends AgentFlags {
  readonly json?: true;
  readonly config?: string;
  readonly join: readonly (readonly string[])[];
  readonly invite?: string;
  readonly inviteFile?: string;
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
  readonly metricsListen?: string;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
}

export function registerUp(program: Program, context: CliContext): void {
  program
    .command("up")
    .option(
      "--config <file>",
      `settings from a YAML file (default: $MUSTER_CONFIG, or ${defaultConfigPath} where there is one)`,
    )
    .option(
      "--join <addresses>",
      "members of the fleet to join, with commas; may be repeated",
      flags(parseAddresses),
      [],
    )
    .addOption(
      new Option(
        "--invite <token>",
        "what lets this machine join (better: --invite-file or $MUSTER_INVITE, which ps does not show)",
      ).conflicts("inviteFile"),
    )
    .option("--invite-file <path>", "file that holds the invite")
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
    .option(
      "--metrics-listen <address>",
      "also serve /metrics alone on this address, to whoever can connect",
      flag(parseListen),
    )
    .addOption(
      new Option("--log-level <level>", "least severe lines that are logged (default: info)").choices(
        logLevels,
      ),
    )
    .addOption(
      new Option("--log-format <format>", "json for programs, text for people (default: json)").choices(
        logFormats,
      ),
    )
    .option("--show-config", "print every setting and where it is from, and start nothing")
    .option("--detach", "go on in the background and return when the agent is ready")
    .action(async (options, command) => {
      const given = command.optsWithGlobals();
      const settings = await settingsOf(given, context);
      if (options.showConfig === true) {
        const { formatSettings, shownSettings } = await import("./up-settings.ts");
        await show(context, given, shownSettings(settings), formatSettings);
        return;
      }
      await start(given, settings, options.detach === true, context);
    });
}

async function start(
  given: UpFlags,
  settings: Settings,
  isDetached: boolean,
  context: CliContext,
): Promise<void> {
  const { isAnswering, checkSocketPath } = await import("../api/socket-file.ts");
  const socketPath = socketOf(given, context);
  checkSocketPath(socketPath);
  if (await isAnswering(socketPath)) throw await alreadyAnswering(socketPath);
  const { claimDataDirectory, hasIdentity } = await import("../../node/data-directory.ts");
  claimDataDirectory(given.dataDir);
  const isMember = hasIdentity(given.dataDir);
  const idle = [
    given.join.length > 0 ? "--join" : "",
    given.invite === undefined ? "" : "--invite",
    given.inviteFile === undefined ? "" : "--invite-file",
  ].filter((name) => name !== "");
  if (isMember && idle.length > 0)
    await context.console.complain(
      `note: this machine is a member of a fleet already (${given.dataDir}); ${idle.join(" and ")} ${idle.length === 1 ? "is" : "are"} ignored\n`,
    );
  if (isDetached) {
    const { startDetached } = await import("./detach.ts");
    await startDetached(context, given, socketPath);
  } else await serve(context, given, socketPath, settings.config, isMember);
}

/** Who has the socket, as far as it says so itself. */
async function alreadyAnswering(socketPath: string): Promise<ProblemError> {
  const { MusterClient } = await import("../client/muster-client.ts");
  const patience = AbortSignal.timeout(whoTimeoutMs);
  const holder = await new MusterClient(socketPath, patience).status().then(
    ({ name, pid, uptimeMs }) =>
      ` (${name}, pid ${pid}, since ${new Date(Date.now() - uptimeMs).toISOString().replace(/\.\d+Z$/, "Z")})`,
    () => "",
  );
  return new ProblemError({
    code: "conflict",
    message: `an agent already answers on ${socketPath}${holder}`,
    next: "muster status shows it; another one needs a --data-dir of its own",
  });
}

/** Defaults, then the file, then the environment, then the flags. */
export async function settingsOf(given: UpFlags, context: CliContext): Promise<Settings> {
  const { defaultLayer, mergeLayers } = await import("./up-settings.ts");
  const { environmentConfig } = await import("./up-config.ts");
  const environment = environmentConfig(context.env);
  if (!environment.ok) throw new ProblemError(environment.error);
  const file = given.config ?? (context.env["MUSTER_CONFIG"] || undefined);
  return mergeLayers([
    defaultLayer(),
    ...(file === undefined && !existsSync(defaultConfigPath)
      ? []
      : [{ name: file ?? defaultConfigPath, config: await readConfig(file ?? defaultConfigPath) }]),
    { name: "environment", config: environment.value },
    { name: "flag", config: flagsConfig(given) },
  ]);
}

function flagsConfig(given: UpFlags): UpConfig {
  const { name, zone, listen, advertise, invite, inviteFile, cpu, memory, cgroupParent, apiPort } = given;
  const { logLevel, logFormat, metricsListen } = given;
  return {
    ...(name === undefined ? {} : { name }),
    ...(zone === undefined ? {} : { zone }),
    ...(listen === undefined ? {} : { listen }),
    ...(advertise === undefined ? {} : { advertise }),
    ...(given.join.length === 0 ? {} : { join: given.join.flat() }),
    ...(invite === undefined ? {} : { invite }),
    ...(inviteFile === undefined ? {} : { inviteFile }),
    ...(given.label.length === 0 ? {} : { labels: given.label.map(([key, value]) => `${key}=${value}`) }),
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
    ...(given.plainHttpRegistry.length === 0 ? {} : { plainHttpRegistries: [...given.plainHttpRegistry] }),
    ...(cgroupParent === undefined ? {} : { cgroupParent }),
    ...(apiPort === undefined ? {} : { apiPort }),
    ...(metricsListen === undefined ? {} : { metricsListen }),
    ...(logLevel === undefined ? {} : { logLevel }),
    ...(logFormat === undefined ? {} : { logFormat }),
  };
}

async function readConfig(path: string): Promise<UpConfig> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw usageFailure(
      `cannot read the configuration file: ${error instanceof Error ? error.message : String(error)}`,
      "name another with --config",
    );
  }
  if (text.trim() === "") return {};
  const { parseUpConfig } = await import("./up-file.ts");
  const config = parseUpConfig(text, path);
  if (!config.ok) throw new ProblemError(config.error);
  return config.value;
}

/** Runs the agent until it is told to end; its containers go on after it. */
async function serve(
  context: CliContext,
  given: UpFlags,
  socketPath: string,
  config: UpConfig,
  isMember: boolean,
): Promise<void> {
  const [{ startNode }, { createApi }, { nodeOptions }] = await Promise.all([
    import("../../node/compose.ts"),
    import("../api/server.ts"),
    import("./up-settings.ts"),
  ]);
  // A member needs its invite no more, and who cleaned up has removed the file.
  const { inviteFile: _used, ...membersConfig } = config;
  const node = await startNode(nodeOptions(isMember ? membersConfig : config, given.dataDir));
  const { apiPort, metricsListen } = config;
  try {
    const api = await createApi(node.api, {
      socketPath,
      ...(apiPort === undefined ? {} : { loopback: { hostname: "127.0.0.1", port: apiPort } }),
      ...(metricsListen === undefined ? {} : { metrics: listenAddressOf(metricsListen) }),
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
