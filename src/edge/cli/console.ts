/** The caller's terminal, files and signals, as commands see them. */
export interface Console {
  /** To standard output. Rejects when nobody reads any more. */
  write(data: string | Uint8Array): Promise<void>;
  /** To standard error. */
  complain(data: string | Uint8Array): Promise<void>;
  input(): AsyncIterable<Uint8Array>;
  /** Aborts at the first SIGINT or SIGTERM. */
  readonly interrupted: AbortSignal;
  /** Undefined when standard input and output are not both a terminal. */
  readonly terminal: ConsoleTerminal | undefined;
}

export interface ConsoleTerminal {
  size(): { readonly columns: number; readonly rows: number };
  /** Keys go through as they are typed, unechoed. The returned function undoes it. */
  raw(): () => void;
  onResize(listener: () => void): () => void;
}

/** What every command is given besides its own options. */
export interface CliContext {
  readonly console: Console;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What the process ends with; a failure that is thrown comes before it. */
  exitCode: number;
}
