/** The program without its commands: the options that all of them share. */
import { Command } from "@commander-js/extra-typings";
import type { Option } from "commander";
import { join } from "node:path";
import { MusterClient } from "../client/muster-client.ts";
import { parseName } from "../manifest/fields.ts";
import type { CliContext } from "./console.ts";
import { formatSpan } from "../manifest/quantity.ts";
import { usageFailure } from "./failure.ts";
import { flag } from "./flags.ts";
import { commit, version } from "./version.ts";

export type Program = ReturnType<typeof createRoot>;

/** Which agent a command talks to. */
export interface AgentFlags {
  readonly socket?: string;
  readonly dataDir: string;
}

export const defaultDataDirectory = "/var/lib/muster";

/** The environment gives the defaults that a shell or a service sets once. */
export function createRoot(env: CliContext["env"]) {
  return new Command("muster")
    .description("Runs containers on a fleet of machines that has no control plane.")
    .version(`${version} (${commit})`, "-V, --version", "print the version")
    .option("--json", "print JSON instead of text")
    .option(
      "--socket <path>",
      "the agent's socket (default: $MUSTER_SOCKET, or muster.sock in the data directory)",
    )
    .option(
      "--data-dir <dir>",
      "the agent's data directory ($MUSTER_DATA_DIR)",
      env["MUSTER_DATA_DIR"] || defaultDataDirectory,
    )
    .option(
      "-n, --namespace <name>",
      "the namespace of the deployment ($MUSTER_NAMESPACE)",
      flag(parseName),
      namespaceOf(env),
    )
    .configureHelp({ showGlobalOptions: true, optionDescription: optionWords })
    .helpCommand(false);
}

function namespaceOf(env: CliContext["env"]): string {
  const given = env["MUSTER_NAMESPACE"] || "default";
  const name = parseName(given);
  if (name.ok) return name.value;
  throw usageFailure(`$MUSTER_NAMESPACE: ${JSON.stringify(given)} ${name.error}`);
}

/** An option in the help: its default as it would be typed. */
function optionWords({ description, flags, defaultValue, argChoices }: Option): string {
  const notes = [
    ...(argChoices === undefined ? [] : [`one of ${argChoices.join(", ")}`]),
    ...(defaultValue === undefined || typeof defaultValue === "boolean" || isNothing(defaultValue)
      ? []
      : [`default: ${flags.endsWith("<span>") ? formatSpan(Number(defaultValue)) : String(defaultValue)}`]),
  ];
  return notes.length === 0 ? description : `${description} (${notes.join("; ")})`;
}

function isNothing(value: unknown): boolean {
  return value === 0 || (Array.isArray(value) && value.length === 0);
}

export function socketOf(flags: AgentFlags, context: CliContext): string {
  return flags.socket ?? (context.env["MUSTER_SOCKET"] || undefined) ?? join(flags.dataDir, "muster.sock");
}

export function connect(flags: AgentFlags, context: CliContext): MusterClient {
  return new MusterClient(socketOf(flags, context), context.console.interrupted);
}

/** Prints the value as JSON, or as the text that `format` makes of it. */
export async function show<T>(
  context: CliContext,
  flags: { readonly json?: true },
  value: T,
  format: (value: T) => string,
): Promise<void> {
  await context.console.write(
    flags.json === true ? `${JSON.stringify(value, undefined, 2)}\n` : format(value),
  );
}
