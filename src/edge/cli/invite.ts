import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { connect, show, type Program } from "./root.ts";

export function registerInvite(program: Program, context: CliContext): void {
  program
    .command("invite")
    .option("--ttl <span>", "how long the token is good for, at most 30d", flag(parseSpan), 3_600_000)
    .option("--token", "print the token alone, for a file")
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      const answer = await connect(flags, context).invite(options.ttl);
      await show(context, flags, answer, ({ token, expiresAtMs, join }) =>
        options.token === true
          ? `${token}\n`
          : [
              "# on the machine that is to join:",
              `muster up --join ${join.join(",")} --invite ${token}`,
              `# good until ${new Date(expiresAtMs).toISOString()}; whoever has the token can join`,
              "",
            ].join("\n"),
      );
    });
}
