/** Flags that come before the command and take the next word as their value. */
const flagsWithValue: ReadonlySet<string> = new Set(["--socket", "--data-dir", "-n", "--namespace"]);

/** The command that a command line names, found without the parser, whose modules a start has no time for. */
export function firstCommand(argv: readonly string[]): string | undefined {
  return argv.find((word, index) => !word.startsWith("-") && !flagsWithValue.has(argv[index - 1] ?? ""));
}
