/** `muster image pull`, and how far long work with images is. */
import { defined } from "../../model/assert.ts";
import type { ImageEvent } from "../../node/node-images.ts";
import type { Image, PullProgress } from "../../ports/image-store.ts";
import type { CliContext } from "./console.ts";
import { CommandFailure } from "./failure.ts";
import type { ImageCommand } from "./image-command.ts";
import { formatSize, shortDigest } from "./image-words.ts";
import { ProgressLine } from "./progress-line.ts";
import { connect, show } from "./root.ts";

export function registerImagePull(image: ImageCommand, context: CliContext): void {
  image
    .command("pull")
    .description("bring an image from its registry; one that is here is brought up to date")
    .argument("<reference>", "such as nginx:1.27 or registry.example/app@sha256:...")
    .action(async (reference, _options, command) => {
      const flags = command.optsWithGlobals();
      const signal = context.console.interrupted;
      const events = connect(flags, context).pullImage(reference, { pull: "always", signal });
      const [pulled] = await imagesOf(events, `pulling ${reference}`, context);
      await show(context, flags, defined(pulled, "the image that was pulled"), formatImage);
    });
}

export function formatImage(image: Image): string {
  return `${image.reference}  ${shortDigest(image.digest)}  ${formatSize(image.sizeBytes)}\n`;
}

/** Reads to the end; on a terminal one line says how far it is. */
export async function imagesOf(
  events: AsyncIterable<ImageEvent>,
  what: string,
  context: CliContext,
): Promise<readonly Image[]> {
  const images: Image[] = [];
  const line = new ProgressLine(context);
  try {
    for await (const event of events)
      if (event.kind === "done") images.push(event.image);
      else await line.show(`${what}: ${formatProgress(event.progress)}`);
  } finally {
    await line.clear();
  }
  if (context.console.interrupted.aborted)
    throw new CommandFailure({
      code: "interrupted",
      message: `${what} was given up`,
      next: "layers that went through are kept, and the next attempt goes on from there",
    });
  return images;
}

function formatProgress({ bytes, bytesTotal, layersDone, layersTotal }: PullProgress): string {
  const percent = bytesTotal === 0 ? 100 : Math.floor((bytes / bytesTotal) * 100);
  return `${percent} % of ${formatSize(bytesTotal)}, ${layersDone} of ${layersTotal} layers`;
}
