/** `muster image load|save|push`: images in and out of the node other than by a pull. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { defined } from "../../model/assert.ts";
import type { Image } from "../../ports/image-store.ts";
import type { CliContext } from "./console.ts";
import { CommandFailure, usageFailure } from "./failure.ts";
import type { ImageCommand } from "./image-command.ts";
import { formatImage, imagesOf } from "./image-pull.ts";
import { formatSize } from "./image-words.ts";
import { connect, show } from "./root.ts";

export function registerImageArchives(image: ImageCommand, context: CliContext): void {
  registerLoad(image, context);
  registerSave(image, context);
  registerPush(image, context);
}

function registerLoad(image: ImageCommand, context: CliContext): void {
  image
    .command("load")
    .description("take the images of an archive: an OCI layout (directory or tar) or what docker save writes")
    .argument("<archive>", "path on this machine, or - for standard input")
    .option("--name <name>", "what to call an image that the archive leaves nameless")
    .action(async (archive, options, command) => {
      const flags = command.optsWithGlobals();
      const client = connect(flags, context);
      const signal = context.console.interrupted;
      const name = options.name === undefined ? {} : { name: options.name };
      const load = async (path: string): Promise<readonly Image[]> =>
        imagesOf(client.loadImages(path, { ...name, signal }), `loading ${archive}`, context);
      const images = archive === "-" ? await withSpooled(context, load) : await load(resolve(archive));
      await show(context, flags, images, (loaded) => loaded.map(formatImage).join(""));
    });
}

function registerSave(image: ImageCommand, context: CliContext): void {
  image
    .command("save")
    .description("write images as one archive that load, docker load and skopeo read")
    .argument("<reference...>", "as in muster image ls")
    .option("-o, --output <file>", "where to (default: standard output, unless that is a terminal)")
    .action(async (references, options, command) => {
      const flags = command.optsWithGlobals();
      const { output } = options;
      if (output === undefined && context.console.terminal !== undefined)
        throw usageFailure("an archive is nothing for a terminal", "say where it goes with --output FILE");
      const signal = context.console.interrupted;
      const pieces = await connect(flags, context).saveImages(references, signal);
      if (output === undefined) {
        for await (const piece of pieces) await context.console.write(piece);
        return;
      }
      const bytes = await written(output, pieces);
      await show(context, flags, { path: resolve(output), bytes }, () => `${output}: ${formatSize(bytes)}\n`);
    });
}

function registerPush(image: ImageCommand, context: CliContext): void {
  image
    .command("push")
    .description("send an image of this node to a registry")
    .argument("<reference>", "as in muster image ls")
    .argument("[destination]", "registry, name and tag there (default: as it is called here)")
    .action(async (reference, destination, _options, command) => {
      const flags = command.optsWithGlobals();
      const to = destination ?? reference;
      const signal = context.console.interrupted;
      const events = connect(flags, context).pushImage(reference, { destination: to, signal });
      const [pushed] = await imagesOf(events, `pushing ${to}`, context);
      await show(context, flags, defined(pushed, "the image that was pushed"), formatImage);
    });
}

/** The agent reads the archive back and forth, so what comes through a pipe becomes a file first. */
async function withSpooled<T>(context: CliContext, use: (path: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "muster-load-"));
  try {
    const path = join(directory, "archive.tar");
    await written(path, context.console.input());
    return await use(path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A whole file or none; the answer is its length. */
async function written(path: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const file = openSync(path, "w", 0o600);
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length;) at += writeSync(file, piece, at);
      bytes += piece.length;
    }
  } catch (error) {
    rmSync(path, { force: true });
    const detail = error instanceof Error ? error.message : String(error);
    throw new CommandFailure({ code: "internal", message: `${path} could not be written: ${detail}` });
  } finally {
    closeSync(file);
  }
  return bytes;
}
