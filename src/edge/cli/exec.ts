import type { ExecSession } from "../../ports/container-runtime.ts";
import { parseEnvLine } from "../manifest/fields.ts";
import type { CliContext, ConsoleTerminal } from "./console.ts";
import { exitCodes, usageFailure } from "./failure.ts";
import { flags } from "./flags.ts";
import { connect, type Program } from "./root.ts";
import { replicaTarget } from "./target.ts";

export function registerExec(program: Program, context: CliContext): void {
  program
    .command("exec")
    .argument("<name>", "NAME or NAME/REPLICA, a namespace may stand before it")
    .argument("<command...>", "what to run; put -- before it")
    .option("-i, --interactive", "pass standard input on")
    .option("-t, --tty", "give it a terminal")
    .option("-e, --env <name=value>", "variable of the environment; may be repeated", flags(parseEnvLine), [])
    .option("-u, --user <user>", "user, as uid[:gid] or by name")
    .option("-w, --workdir <dir>", "directory to run it in")
    .action(async (name, args, options, command) => {
      const given = command.optsWithGlobals();
      const { key, replica } = replicaTarget(name, given.namespace);
      const terminal = options.tty === true ? context.console.terminal : undefined;
      if (options.tty === true && terminal === undefined)
        throw usageFailure("-t needs a terminal for input and output", "leave it out in scripts");
      const session = await connect(given, context).exec(key, replica, {
        args,
        env: options.env.map(([variable, value]) => `${variable}=${value}`),
        ...(terminal === undefined ? {} : { terminal: terminal.size() }),
        ...(options.user === undefined ? {} : { user: options.user }),
        ...(options.workdir === undefined ? {} : { workingDirectory: options.workdir }),
      });
      context.exitCode = await attend(session, context, terminal, options.interactive === true);
    });
}

/** Joins the session to the console until the command ends; its exit code. */
async function attend(
  session: ExecSession,
  context: CliContext,
  terminal: ConsoleTerminal | undefined,
  interactive: boolean,
): Promise<number> {
  const { console } = context;
  const undo: (() => void)[] = [];
  const interrupt = (): void => session.kill();
  console.interrupted.addEventListener("abort", interrupt, { once: true });
  if (console.interrupted.aborted) interrupt();
  undo.push(() => console.interrupted.removeEventListener("abort", interrupt));
  if (terminal !== undefined) {
    if (interactive) undo.push(terminal.raw());
    undo.push(
      terminal.onResize(() => {
        const { columns, rows } = terminal.size();
        session.resize(columns, rows);
      }),
    );
  }
  try {
    // Not awaited: input may never end, and the command's end is what counts.
    if (interactive) void passInput(session, console.input());
    else await session.closeInput();
    for await (const { stream, data } of session.output)
      await (stream === "stdout" ? console.write(data) : console.complain(data));
    return await session.exitCode;
  } catch (error) {
    if (console.interrupted.aborted) return exitCodes.interrupted;
    throw error;
  } finally {
    for (const step of undo.toReversed()) step();
  }
}

async function passInput(session: ExecSession, input: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const data of input) await session.write(data);
  await session.closeInput();
}
