import type { DeploymentSpec } from "../../model/spec.ts";
import {
  namePattern,
  parseEnvLine,
  parseImage,
  parseName,
  parsePort,
  parseReplicas,
  publishedTwice,
  sortedEnv,
} from "../manifest/fields.ts";
import { parseCpu, parseMemory, parseSpan } from "../manifest/quantity.ts";
import { Option } from "@commander-js/extra-typings";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import { flag, flags } from "./flags.ts";
import { connect, type Program } from "./root.ts";
import { showWrites, waitTimeoutMsDefault } from "./writes.ts";
import { containerResourcesDefault, singleContainer } from "../../model/template.ts";

export function registerRun(program: Program, context: CliContext): void {
  program
    .command("run")
    .argument("<image>", "image reference, such as registry.example.com/team/app:1.2", flag(parseImage))
    .argument("[command...]", "replaces the image's command; put -- before it")
    .option("--name <name>", "name of the deployment (default: the image's)", flag(parseName))
    .option("-r, --replicas <number>", "how many there shall be", flag(parseReplicas), 1)
    .option("-p, --publish <port>", "[PUBLISHED:]CONTAINER[/PROTOCOL]; may be repeated", flags(parsePort), [])
    .option("-e, --env <name=value>", "variable of the environment; may be repeated", flags(parseEnvLine), [])
    .option("--cpu <amount>", "CPU to reserve, such as 500m", flag(parseCpu), 0)
    .option("--memory <amount>", "memory to reserve, such as 64Mi", flag(parseMemory), 0)
    .addOption(
      new Option("--restart <policy>", "when an instance that ended is started again")
        .choices(["always", "on-failure", "never"] as const)
        .default("always" as const),
    )
    .option("--wait", "until all replicas run")
    .option("--timeout <span>", "how long to wait", flag(parseSpan), waitTimeoutMsDefault)
    .action(async (image, args, options, command) => {
      const given = command.optsWithGlobals();
      const twice = publishedTwice(options.publish)[0];
      if (twice !== undefined)
        throw usageFailure(`--publish: port ${options.publish[twice.index]?.published} is published twice`);
      const template = singleContainer(
        {
          image,
          ...(args.length === 0 ? {} : { command: args }),
          env: sortedEnv(new Map(options.env)),
          resources: { ...containerResourcesDefault, cpuMillis: options.cpu, memoryBytes: options.memory },
          ports: options.publish,
        },
        { restart: options.restart },
      );
      const spec: DeploymentSpec = {
        namespace: given.namespace,
        name: options.name ?? nameOfImage(image),
        replicas: options.replicas,
        template,
      };
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
