/** The caller's end of a copy: the machine's own tar, and what it unpacked moved to its place. */
import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { CommandFailure } from "./failure.ts";

/** A local file or directory as an archive with one first name; `DIR/.` is what is in it. */
export function packLocal(path: string): ReadableStream<Uint8Array> {
  const isContents = path === "." || path.endsWith("/.");
  if (!existsSync(path)) throw failure(`there is no ${path}`);
  const whole = resolve(path);
  const [directory, name] = isContents ? [whole, "."] : [dirname(whole), basename(whole)];
  const child = Bun.spawn(
    ["tar", "--create", "--file=-", "--numeric-owner", `--directory=${directory}`, "--", name],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const complaint = new Response(child.stderr).text();
  const reader = child.stdout.getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (!done) controller.enqueue(value);
      else if ((await child.exited) === 0) controller.close();
      else controller.error(failure(`tar could not read all of ${path}: ${(await complaint).trim()}`));
    },
    cancel() {
      child.kill("SIGKILL");
    },
  });
}

/**
 * Unpacks an archive with one first name: into `path` when that is a directory, else under the name `path`. It is
 * unpacked aside and moved when it is whole. The number of bytes that came.
 */
export async function unpackLocal(archive: AsyncIterable<Uint8Array>, path: string): Promise<number> {
  const isDirectory = isDirectoryAt(path);
  if (!isDirectory && path.endsWith("/")) throw failure(`there is no directory ${path}`);
  const parent = isDirectory ? path : dirname(resolve(path));
  if (!isDirectoryAt(parent)) throw failure(`there is no directory ${parent}`);
  const aside = mkdtempSync(join(parent, ".muster-cp-"));
  try {
    const bytes = await unpackInto(archive, aside);
    const [name, ...others] = readdirSync(aside);
    if (name === undefined || others.length > 0) throw failure("the archive is not of one file or directory");
    await moveTo(join(aside, name), isDirectory ? join(path, name) : path);
    return bytes;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

async function unpackInto(archive: AsyncIterable<Uint8Array>, directory: string): Promise<number> {
  const child = Bun.spawn(["tar", "--extract", "--file=-", "--numeric-owner", `--directory=${directory}`], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  const complaint = new Response(child.stderr).text();
  let bytes = 0;
  for await (const chunk of archive) {
    bytes += chunk.length;
    child.stdin.write(chunk);
    await child.stdin.flush();
  }
  await child.stdin.end();
  if ((await child.exited) !== 0) throw failure(`tar could not unpack: ${(await complaint).trim()}`);
  return bytes;
}

/** What is in a directory goes to the one that is there; anything else takes the place of what is there. */
async function moveTo(from: string, to: string): Promise<void> {
  if (!isDirectoryAt(to)) {
    renameSync(from, to);
    return;
  }
  if (!isDirectoryAt(from)) throw failure(`${to} is a directory, and what is copied is not`);
  const child = Bun.spawn(["cp", "--archive", "--no-target-directory", "--", from, to], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const complaint = new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw failure((await complaint).trim());
}

function isDirectoryAt(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function failure(message: string): CommandFailure {
  return new CommandFailure({ code: "invalid-request", message });
}
