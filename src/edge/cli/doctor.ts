import { MusterClient } from "../client/muster-client.ts";
import { examine, type Finding } from "../doctor/examine.ts";
import { gatherFacts } from "../doctor/gather.ts";
import type { CliContext } from "./console.ts";
import { exitCodes } from "./failure.ts";
import { defaultPort, flag, parseAddress } from "./flags.ts";
import { show, socketOf, type AgentFlags, type Program } from "./root.ts";
import { formatTable } from "./table.ts";
import { settingsOf } from "./up.ts";

/** What `--json` prints. */
interface Examination {
  /** Whether an agent can work here; warnings do not count. */
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

interface DoctorFlags extends AgentFlags {
  readonly config?: string;
  readonly listen?: string;
}

/** How long the machine's agent may take to say that it is there. */
const agentTimeoutMs = 1_000;

export function registerDoctor(program: Program, context: CliContext): void {
  program
    .command("doctor")
    .option("--config <file>", "settings of the agent, for the address it binds")
    .option(
      "--listen <address>",
      `address the agent is to bind (default: the setting, or [::]:${defaultPort})`,
      flag(parseAddress),
    )
    .action(async (_options, command) => {
      const flags = command.optsWithGlobals();
      const facts = await gatherFacts({
        dataDirectory: flags.dataDir,
        port: await portOf(flags, context),
        agentPid: await agentPid(socketOf(flags, context)),
      });
      const findings = examine(facts);
      const isOk = findings.every(({ status }) => status !== "failed");
      const examination: Examination = { ok: isOk, findings };
      await show(context, flags, examination, formatExamination);
      if (!isOk) context.exitCode = exitCodes.refused;
    });
}

/** As `up` would have it. */
async function portOf(flags: DoctorFlags, context: CliContext): Promise<number> {
  const given = { ...flags, join: [], label: [], plainHttpRegistry: [], registryMirror: [] };
  const { config } = await settingsOf(given, context);
  return Number(/:(\d+)$/.exec(config.listen ?? "")?.[1] ?? defaultPort);
}

async function agentPid(socketPath: string): Promise<number | undefined> {
  const client = new MusterClient(socketPath, AbortSignal.timeout(agentTimeoutMs));
  return client.status().then(
    ({ pid }) => pid,
    () => undefined,
  );
}

const marks = { ok: "ok", warning: "WARNING", failed: "FAILED" } as const;

function formatExamination({ findings }: Examination): string {
  const table = formatTable(
    ["", "CHECK", "FOUND"],
    findings.map(({ check, status, detail }) => [marks[status], check, detail]),
  );
  const advised = findings.filter(({ advice }) => advice !== undefined);
  const advice = advised.map(({ check, advice: words }) => `  ${check}: ${words}\n`).join("");
  const count = findings.filter(({ status }) => status === "failed").length;
  const verdict =
    count === 0
      ? "This machine can run an agent: muster up --detach\n"
      : `This machine cannot run an agent yet: ${count} ${count === 1 ? "check" : "checks"} failed.\n`;
  return `${table}\n${advice === "" ? "" : `What to do:\n${advice}\n`}${verdict}`;
}
