/** The process: hands its command line on, and is the only place that ends it. */
import type { CliContext } from "./edge/cli/console.ts";
import { firstCommand } from "./edge/cli/first-command.ts";

const argv = process.argv.slice(2);
process.exit(await main());

async function main(): Promise<number> {
  const [first] = argv;
  // Started by the agent itself, many times in a pull: nothing else is loaded for it.
  if (first === "internal-unpack") {
    const { unpackMain } = await import("./adapters/images/oci/unpack.ts");
    return unpackMain(argv.slice(1));
  }
  if (first === "internal-copy") {
    const { copyMain } = await import("./adapters/runtimes/copy/copy-child.ts");
    return copyMain(argv.slice(1));
  }
  if (first === "internal-launch") {
    const { launchMain } = await import("./adapters/runtimes/process/launch.ts");
    return launchMain(argv.slice(1));
  }
  if (first === "internal-certify") {
    const { certifyMain } = await import("./node/identity/certify.ts");
    return certifyMain();
  }
  if (argv.length === 1 && (first === "--version" || first === "-V")) {
    const { commit, version } = await import("./edge/cli/version.ts");
    await Bun.write(Bun.stdout, `${version} (${commit})\n`);
    return 0;
  }
  if (firstCommand(argv) === "up") {
    const [{ isEngineSet, replaceByLean }, { selfCommand }] = await Promise.all([
      import("./edge/cli/lean-engine.ts"),
      import("./edge/cli/self-command.ts"),
    ]);
    if (!isEngineSet(process.env)) replaceByLean([...selfCommand(), ...argv], process.env);
  }
  const [{ runCli }, { processConsole }] = await Promise.all([
    import("./edge/cli/run-cli.ts"),
    import("./edge/cli/process-console.ts"),
  ]);
  const context: CliContext = { console: processConsole(), env: process.env, exitCode: 0 };
  return runCli(argv, context);
}
