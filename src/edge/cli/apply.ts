import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ProblemError } from "../../model/problem.ts";
import type { ManifestFile } from "../manifest/manifest.ts";
import { parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import { flag } from "./flags.ts";
import { withMarkOfBefore } from "./restart-mark.ts";
import { connect, type Program } from "./root.ts";
import { showWrites, waitTimeoutMsDefault, type Write } from "./writes.ts";

export function registerApply(program: Program, context: CliContext): void {
  program
    .command("apply")
    .requiredOption(
      "-f, --file <path>",
      "manifest file, directory of them, or - for standard input; may be repeated",
      (path: string, previous: readonly string[]): readonly string[] => [...previous, path],
      [],
    )
    .option("--wait", "until all replicas run")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      if (options.file.length === 0) throw usageFailure("no file given", "name one with -f");
      const files = (await Promise.all(options.file.map((path) => readManifests(path, context)))).flat();
      const { parseManifests } = await import("../manifest/manifest.ts");
      const specs = parseManifests(files, flags.namespace);
      if (!specs.ok) throw new ProblemError(specs.error);
      const client = connect(flags, context);
      const writes: Write[] = [];
      for (const spec of specs.value) {
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

async function readManifests(path: string, context: CliContext): Promise<readonly ManifestFile[]> {
  if (path === "-")
    return [{ file: "-", text: Buffer.concat(await Array.fromAsync(context.console.input())).toString() }];
  try {
    const file = Bun.file(path);
    if (!(await file.stat()).isDirectory()) return [{ file: path, text: await file.text() }];
    const names = (await readdir(path)).filter((name) => /\.(ya?ml|json)$/.test(name)).toSorted();
    if (names.length === 0) throw usageFailure(`${path} holds no .yaml, .yml or .json file`);
    return await Promise.all(
      names.map(async (name) => ({ file: join(path, name), text: await Bun.file(join(path, name)).text() })),
    );
  } catch (error) {
    if (error instanceof Error && "code" in error && typeof error.code === "string")
      throw usageFailure(`cannot read ${path}: ${error.message}`);
    throw error;
  }
}
