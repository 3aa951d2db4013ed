import { Option } from "@commander-js/extra-typings";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { DeploymentSpec } from "../../model/spec.ts";
import { pidsDefault, stopTimeoutMsDefault } from "../../model/template.ts";
import {
  parseCapabilityName,
  parseFilePlace,
  parseHostname,
  parseMount,
  parsePath,
  parsePids,
  parseRuntime,
  parseStopSignal,
  parseTmpfs,
  parseUser,
} from "../manifest/container-values.ts";
import {
  labelPattern,
  namePattern,
  parseEnvLine,
  parseImage,
  parseName,
  parsePort,
  parseReplicas,
  stopTimeoutMsMax,
} from "../manifest/fields.ts";
import { parseCpu, parseMemory, parseSpan } from "../manifest/quantity.ts";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import { flag, flags } from "./flags.ts";
import { connect, show, type Program } from "./root.ts";
import { templateOfFlags } from "./run-template.ts";
import { showWrites, waitTimeoutMsDefault } from "./writes.ts";

export function registerRun(program: Program, context: CliContext): void {
  program
    .command("run")
    .argument("<image>", "image reference, such as registry.example.com/team/app:1.2", flag(parseImage))
    .argument("[command...]", "replaces the image's command; put -- before it")
    .option("--name <name>", "name of the deployment (default: the image's)", flag(parseName))
    .option("-r, --replicas <number>", "how many there shall be", flag(parseReplicas), 1)
    .option("-p, --publish <port>", "[PUBLISHED:]CONTAINER[/PROTOCOL]; may be repeated", flags(parsePort), [])
    .option("-e, --env <name=value>", "variable of the environment; may be repeated", flags(parseEnvLine), [])
    .option(
      "--env-file <file>",
      "NAME=value lines, before those of -e; may be repeated",
      (path: string, previous: readonly string[]): readonly string[] => [...previous, path],
      [],
    )
    .option("-l, --label <name=value>", "label of the deployment; may be repeated", flags(parseLabelLine), [])
    .option(
      "-v, --volume <mount>",
      "VOLUME:TARGET[:ro], or /SOURCE:TARGET[:ro] of the machine; may be repeated",
      flags(parseMount),
      [],
    )
    .option("--tmpfs <target>", "TARGET[:SIZE], memory; may be repeated", flags(parseTmpfs), [])
    .option(
      "--file <place>",
      "SOURCE:TARGET[:MODE], a text file of yours put into the spec; may be repeated",
      flags(parseFilePlace),
      [],
    )
    .option("--entrypoint <program>", "replaces the image's entrypoint")
    .option("-u, --user <user>", "USER[:GROUP], names of the image or numbers", flag(parseUser))
    .option("-w, --workdir <path>", "where the program starts", flag(parsePath))
    .option("--hostname <name>", "what the machine is called inside", flag(parseHostname))
    .option("--cpu <amount>", "CPU to reserve, and the limit, such as 500m", flag(parseCpu), 0)
    .option("--memory <amount>", "memory to reserve, and the limit, such as 64Mi", flag(parseMemory), 0)
    .option("--disk <amount>", "most bytes of its own layer and logs, such as 1Gi", flag(parseMemory), 0)
    .option("--pids <number>", "most processes at a time", flag(parsePids), pidsDefault)
    .option("--cap-add <name>", "capability to add; may be repeated", flags(parseCapabilityName), [])
    .option(
      "--cap-drop <name>",
      "capability to drop, or ALL; may be repeated",
      flags(parseCapabilityName),
      [],
    )
    .option("--read-only", "it cannot write to its image")
    .option("--allow-new-privileges", "set-user-id programs work")
    .option("--user-namespace", "root inside is an unprivileged user of the machine")
    .option("-i, --interactive", "keep its standard input open for muster attach")
    .option("-t, --tty", "give it a terminal")
    .option("--runtime <name>", "what runs it, such as crun (default: the node's)", flag(parseRuntime))
    .option("--stop-signal <signal>", "what asks it to end (default: the image's)", flag(parseStopSignal))
    .addOption(
      new Option("--stop-timeout <span>", "time between that and the kill")
        .argParser(flag(parseStopTimeout))
        .default(stopTimeoutMsDefault, "10s"),
    )
    .addOption(
      new Option("--pull <policy>", "when the registry is asked for the image")
        .choices(["missing", "always", "never"] as const)
        .default("missing" as const),
    )
    .addOption(
      new Option("--restart <policy>", "when an instance that ended is started again")
        .choices(["always", "on-failure", "never"] as const)
        .default("always" as const),
    )
    .option("--manifest", "print a manifest that declares the same, and run nothing")
    .option("--wait", "until all replicas run")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (image, args, options, command) => {
      const given = command.optsWithGlobals();
      const spec: DeploymentSpec = {
        namespace: given.namespace,
        name: options.name ?? nameOfImage(image),
        replicas: options.replicas,
        template: await templateOfFlags(image, args, options),
      };
      if (options.manifest === true) {
        const { manifestText, shortManifest } = await import("../manifest/manifest-text.ts");
        await show(context, given, shortManifest(spec), manifestText);
        return;
      }
      const client = connect(given, context);
      const answer = await client.declare(spec, { createOnly: true });
      await showWrites(context, client, [{ key: spec, answer }], given);
    });
}

/** `registry.example.com/team/my_app:1.2` is named `my-app`. */
function nameOfImage(image: string): string {
  const path = image.replace(/@.*$/, "").split("/").at(-1) ?? "";
  const name = path.replace(/:.*$/, "").replace(/[._]+/g, "-").slice(0, 63).replace(/-+$/, "");
  if (namePattern.test(name)) return name;
  throw usageFailure(`no name can be made of ${image}`, "give one with --name");
}

function parseLabelLine(text: string): Outcome<readonly [string, string], string> {
  const at = text.indexOf("=");
  if (at < 0) return refused("is not of the form NAME=value");
  return labelPattern.test(text.slice(0, at))
    ? ok([text.slice(0, at), text.slice(at + 1)])
    : refused("has a name that is none for a label");
}

function parseStopTimeout(text: string): Outcome<number, string> {
  const span = parseSpan(text);
  return span.ok && span.value > stopTimeoutMsMax ? refused("is longer than an hour") : span;
}
