/** How this very program is started: a compiled one holds its sources, a run from sources names them. */
export function selfCommand(): readonly string[] {
  return Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main];
}
