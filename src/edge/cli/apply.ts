import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { flag } from "./flags.ts";
import { fileOption, readSpecs } from "./manifest-files.ts";
import { withMarkOfBefore } from "./restart-mark.ts";
import { connect, type Program } from "./root.ts";
import { showWrites, waitTimeoutMsDefault, type Write } from "./writes.ts";

export function registerApply(program: Program, context: CliContext): void {
  program
    .command("apply")
    .option(...fileOption)
    .option("--wait", "until all replicas run")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      const specs = await readSpecs(options.file, flags.namespace, context);
      const client = connect(flags, context);
      const writes: Write[] = [];
      for (const spec of specs) {
        try {
          writes.push({
            key: spec,
            answer: await client.declare(await withMarkOfBefore(client, spec), { createOnly: false }),
          });
        } catch (error) {
          // What was applied before stays applied: say so before the failure is told.
          if (writes.length > 0)
            await showWrites(context, client, writes, {
              ...(flags.json === true ? { json: true } : {}),
              timeout: 0,
            });
          throw error;
        }
      }
      await showWrites(context, client, writes, flags);
    });
}
