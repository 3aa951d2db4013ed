import { parseEnvLine } from "../manifest/fields.ts";
import type { CliContext } from "./console.ts";
import { exitCodes, usageFailure } from "./failure.ts";
import { flags } from "./flags.ts";
import { connect, type Program } from "./root.ts";
import { attend } from "./session-console.ts";
import { replicaTarget } from "./target.ts";

export function registerExec(program: Program, context: CliContext): void {
  program
    .command("exec")
    .argument("<name>", "NAME or NAME/REPLICA, a namespace may stand before it")
    .argument("<command...>", "what to run; put -- before it")
    .option("-c, --container <name>", "in this container of the replica (default: the first)")
    .option("-i, --interactive", "pass standard input on")
    .option("-t, --tty", "give it a terminal")
    .option("-e, --env <name=value>", "variable of the environment; may be repeated", flags(parseEnvLine), [])
    .option("-u, --user <user>", "user, as uid[:gid] or by name")
    .option("-w, --workdir <dir>", "directory to run it in")
    .action(async (name, args, options, command) => {
      const given = command.optsWithGlobals();
      const { key, replica } = replicaTarget(name, given.namespace);
      const choice = {
        ...(replica === undefined ? {} : { replica }),
        ...(options.container === undefined ? {} : { container: options.container }),
      };
      const terminal = options.tty === true ? context.console.terminal : undefined;
      if (options.tty === true && terminal === undefined)
        throw usageFailure("-t needs a terminal for input and output", "leave it out in scripts");
      const session = await connect(given, context).exec(key, choice, {
        args,
        env: options.env.map(([variable, value]) => `${variable}=${value}`),
        ...(terminal === undefined ? {} : { terminal: terminal.size() }),
        ...(options.user === undefined ? {} : { user: options.user }),
        ...(options.workdir === undefined ? {} : { workingDirectory: options.workdir }),
      });
      const end = await attend(session, context, {
        terminal,
        passesInput: options.interactive === true,
        detachKeys: [],
      });
      context.exitCode = end.kind === "ended" ? end.exitCode : exitCodes.interrupted;
    });
}
