/** Files that are either there in full or not there at all, also after a power loss. */
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Replaces the content of `path` in one step. */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  const part = `${path}.${Bun.randomUUIDv7()}.part`;
  try {
    const file = await open(part, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await renameDurably(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** Renames, and returns when the new name is durable. What is renamed must be durable already. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  const directory = await open(dirname(to), "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
