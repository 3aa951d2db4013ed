/** The program without its commands: the options that all of them share. */
import { Command } from "@commander-js/extra-typings";
import { join } from "node:path";
import { MusterClient } from "../client/muster-client.ts";
import { parseName } from "../manifest/fields.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { commit, version } from "./version.ts";

export type Program = ReturnType<typeof createRoot>;

/** Which agent a command talks to. */
export interface AgentFlags {
  readonly socket?: string;
  readonly dataDir: string;
}

export const defaultDataDirectory = "/var/lib/muster";

export function createRoot() {
  return new Command("muster")
    .description("Runs containers on a fleet of machines that has no control plane.")
    .version(`${version} (${commit})`, "-V, --version", "print the version")
    .option("--json", "print JSON instead of text")
    .option(
      "--socket <path>",
      "the agent's socket (default: $MUSTER_SOCKET, or muster.sock in the data directory)",
    )
    .option("--data-dir <dir>", "the agent's data directory", defaultDataDirectory)
    .option("-n, --namespace <name>", "the namespace of the deployment", flag(parseName), "default")
    .configureHelp({ showGlobalOptions: true })
    .helpCommand(false);
}

export function socketOf(flags: AgentFlags, context: CliContext): string {
  return flags.socket ?? context.env["MUSTER_SOCKET"] ?? join(flags.dataDir, "muster.sock");
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
