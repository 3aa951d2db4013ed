/** The command that all image commands are below. */
import type { Program } from "./root.ts";

export type ImageCommand = ReturnType<typeof createImageCommand>;

export function createImageCommand(program: Program) {
  return program.command("image").helpCommand(false);
}
