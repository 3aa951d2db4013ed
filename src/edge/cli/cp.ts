import { parseName } from "../manifest/fields.ts";
import type { MusterClient } from "../client/muster-client.ts";
import type { ContainerChoice } from "../../node/node-api.ts";
import type { CliContext } from "./console.ts";
import { parseCopyPlace, type CopyPlace } from "./copy-place.ts";
import { usageFailure } from "./failure.ts";
import { flag } from "./flags.ts";
import { packLocal, unpackLocal } from "./local-archive.ts";
import { connect, show, type Program } from "./root.ts";

type InContainer = Extract<CopyPlace, { kind: "container" }>;

export function registerCp(program: Program, context: CliContext): void {
  program
    .command("cp")
    .argument("<source>", "NAME[/REPLICA]:PATH, a local path, or - for an archive on standard input")
    .argument("<target>", "the same; - prints the archive")
    .option("-c, --container <name>", "which of its containers (default: the first)", flag(parseName))
    .action(async (source, target, options, command) => {
      const given = command.optsWithGlobals();
      const from = parseCopyPlace(source, given.namespace);
      const to = parseCopyPlace(target, given.namespace);
      const client = connect(given, context);
      const choiceOf = ({ target: { replica } }: InContainer): ContainerChoice => ({
        ...(replica === undefined ? {} : { replica }),
        ...(options.container === undefined ? {} : { container: options.container }),
      });
      let bytes: number;
      if (from.kind === "container" && to.kind !== "container")
        bytes = await copyOut(client, { from, to, choice: choiceOf(from) }, context);
      else if (to.kind === "container" && from.kind !== "container")
        bytes = await copyIn(client, { from, to, choice: choiceOf(to) }, context);
      else
        throw usageFailure(
          from.kind === "container" ? "both ends are in containers" : "neither end is in a container",
          "one end is NAME/REPLICA:PATH, the other a local path",
        );
      if (to.kind === "archive") return;
      await show(context, given, { from: source, to: target, archiveBytes: bytes }, () => "");
    });
}

async function copyOut(
  client: MusterClient,
  { from, to, choice }: { from: InContainer; to: CopyPlace; choice: ContainerChoice },
  { console }: CliContext,
): Promise<number> {
  const archive = await client.copyOut(from.target.key, choice, from.path);
  if (to.kind === "local") return unpackLocal(archive, to.path);
  let bytes = 0;
  for await (const chunk of archive) {
    bytes += chunk.length;
    await console.write(chunk);
  }
  return bytes;
}

async function copyIn(
  client: MusterClient,
  { from, to, choice }: { from: CopyPlace; to: InContainer; choice: ContainerChoice },
  { console }: CliContext,
): Promise<number> {
  const counted = { bytes: 0 };
  const source = from.kind === "local" ? packLocal(from.path) : streamOf(console.input());
  const archive = source.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        counted.bytes += chunk.length;
        controller.enqueue(chunk);
      },
    }),
  );
  await client.copyIn(to.target.key, choice, { path: to.path, archive });
  return counted.bytes;
}

function streamOf(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
  });
}
