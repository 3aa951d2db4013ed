/** `muster image ...`: the images of the node that answers. */
import type { ImageDetails, PruneReport, StoredImage } from "../../ports/image-store.ts";
import type { CliContext } from "./console.ts";
import { registerImageArchives } from "./image-archive.ts";
import { createImageCommand, type ImageCommand } from "./image-command.ts";
import { registerImagePull } from "./image-pull.ts";
import { formatSize, shortDigest } from "./image-words.ts";
import { connect, type Program, show } from "./root.ts";
import { formatAge, formatFacts, formatTable } from "./table.ts";

export function registerImage(program: Program, context: CliContext): void {
  const image = createImageCommand(program);
  registerLooks(image, context);
  registerImagePull(image, context);
  registerImageArchives(image, context);
  registerRemovals(image, context);
}

function registerLooks(image: ImageCommand, context: CliContext): void {
  image
    .command("ls")
    .description("list the images of this node")
    .action(async (_options, command) => {
      const flags = command.optsWithGlobals();
      await show(context, flags, await connect(flags, context).images(), formatImages);
    });
  image
    .command("inspect")
    .description("show one image: what it runs, its layers, what it says of itself")
    .argument("<reference>", "as in muster image ls")
    .action(async (reference, _options, command) => {
      const flags = command.optsWithGlobals();
      await show(context, flags, await connect(flags, context).image(reference), formatDetails);
    });
}

function registerRemovals(image: ImageCommand, context: CliContext): void {
  image
    .command("rm")
    .description("remove images by name; what a deployment of this node needs stays")
    .argument("<reference...>", "as in muster image ls")
    .action(async (references, _options, command) => {
      const flags = command.optsWithGlobals();
      const client = connect(flags, context);
      const reports: PruneReport[] = [];
      const failures: unknown[] = [];
      for (const reference of references)
        await client.removeImage(reference).then(
          (report) => reports.push(report),
          (error: unknown) => failures.push(error),
        );
      const together = {
        images: reports.flatMap(({ images }) => images),
        bytes: reports.reduce((sum, { bytes }) => sum + bytes, 0),
      };
      // What could be removed is told before the first that could not.
      if (reports.length > 0) await show(context, flags, together, formatReport);
      if (failures.length > 0) throw failures[0];
    });
  image
    .command("prune")
    .description("remove what no name leads to")
    .option("--all", "every image that no deployment of this node needs")
    .action(async (options, command) => {
      const flags = command.optsWithGlobals();
      const report = await connect(flags, context).pruneImages(options.all === true);
      await show(context, flags, report, formatReport);
    });
}

function formatImages(images: readonly StoredImage[]): string {
  const byName = images.toSorted((a, b) => (a.reference < b.reference ? -1 : 1));
  return formatTable(
    ["IMAGE", "DIGEST", "SIZE", "PULLED", "STATUS"],
    byName.map((image) => [
      image.reference,
      shortDigest(image.digest),
      formatSize(image.sizeBytes),
      image.pulledAtMs === 0 ? "" : `${formatAge(Date.now() - image.pulledAtMs)} ago`,
      [image.isInUse ? "in use" : "unused", ...(image.isReplaced ? ["replaced"] : [])].join(", "),
    ]),
  );
}

function formatDetails(image: ImageDetails): string {
  const { config } = image;
  const words = [...config.entrypoint, ...config.command].map((word) => JSON.stringify(word)).join(" ");
  const labels = Object.entries(image.labels).map(([name, value]) => `${name}=${value}`);
  const facts: [string, string][] = [
    ["image", image.reference],
    ["digest", image.digest],
    ["platform", image.platform],
    ["created", image.created ?? ""],
    ["size", formatSize(image.sizeBytes)],
    ["runs", words],
    ["user", config.user === "" ? "root" : config.user],
    ["directory", config.workingDirectory === "" ? "/" : config.workingDirectory],
    ["stop signal", config.stopSignal ?? "SIGTERM"],
    ["ports", image.exposedPorts.join(", ")],
    ["volumes", image.volumes.join(", ")],
    ["labels", labels.join(", ")],
    ...config.env.map((line): [string, string] => ["environment", line]),
  ];
  const table = formatTable(
    ["LAYER", "UNPACKED", "SIZE"],
    image.layerDetails.map(({ digest, diffId, sizeBytes }) => [
      shortDigest(digest),
      shortDigest(diffId),
      formatSize(sizeBytes),
    ]),
  );
  return `${formatFacts(facts)}\n${table}`;
}

function formatReport({ images, bytes }: PruneReport): string {
  const lines = images.map((reference) => `removed ${reference}\n`);
  return `${lines.join("")}${formatSize(bytes)} freed\n`;
}
