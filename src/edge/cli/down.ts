import { AgentUnreachable } from "../client/failures.ts";
import type { CliContext } from "./console.ts";
import { connect, show, type Program } from "./root.ts";

export function registerDown(program: Program, context: CliContext): void {
  program
    .command("down")
    .option("--keep", "only end the agent: the containers go on, and the next agent adopts them")
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      const client = connect(flags, context);
      const { name, id } = await client.status();
      try {
        await client.down(options.keep === true);
      } catch (error) {
        // It answered a moment ago: the connection went because the agent did.
        if (!(error instanceof AgentUnreachable)) throw error;
      }
      await show(context, flags, { node: id, name, kept: options.keep === true }, ({ kept }) =>
        kept ? `the agent of ${name} has ended; its containers go on\n` : `${name} has left the fleet\n`,
      );
    });
}
