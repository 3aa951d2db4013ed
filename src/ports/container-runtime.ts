/**
 * Runs containers. Life of one: create (root mounted, process made but not begun), start, ends by
 * itself or by signal, remove. Containers outlive the agent: a new agent finds them again with `list`.
 *
 * Every method is idempotent by container id: creating what exists, starting what runs, removing what
 * is gone all succeed. Calls for different containers may run at the same time; calls for one container
 * are made one after another by the keeper. Failures are RuntimeError.
 */
import type { Capabilities, FileSpec, LogLimits } from "../model/spec.ts";

/** What is put into the file tree; volumes have become directories of the machine by now. */
export type ContainerMount =
  | { readonly kind: "bind"; readonly source: string; readonly target: string; readonly readOnly: boolean }
  | { readonly kind: "tmpfs"; readonly target: string; readonly sizeBytes: number };

export interface ContainerSpec {
  /** `[a-z0-9][a-z0-9.-]{0,126}`; unique on the node, never used again for another run. */
  readonly id: string;
  /** Given back by `list`, so that a new agent knows what a container belongs to. */
  readonly labels: Readonly<Record<string, string>>;
  /** Unpacked image layers, lowest first; the writable layer is the runtime's. */
  readonly layers: readonly string[];
  readonly args: readonly string[];
  /** `NAME=value` lines. */
  readonly env: readonly string[];
  readonly workingDirectory: string;
  /** `uid[:gid]` or names resolved in the image; empty for root. */
  readonly user: string;
  readonly hostname: string;
  /** What the hostname resolves to inside; undefined for a loopback address. */
  readonly addresses?: readonly string[];
  /** A network namespace to join; undefined for one of its own with only loopback. */
  readonly networkNamespace?: string;
  /** Containers with one sandbox share IPC; undefined for a namespace of its own. `[a-z0-9][a-z0-9.-]{0,126}`. */
  readonly sandbox?: string;
  /** 0 means no limit. */
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** Undefined or 0: as many as the node lets any container have. */
  readonly pids?: number;
  /** Of the writable layer and the logs; undefined or 0: no limit. */
  readonly ephemeralBytes?: number;
  readonly capabilities?: Capabilities;
  readonly readOnlyRoot?: boolean;
  readonly allowNewPrivileges?: boolean;
  readonly userNamespace?: boolean;
  readonly mounts?: readonly ContainerMount[];
  readonly files?: readonly FileSpec[];
  readonly logs?: LogLimits;
  /** Name or absolute path of a runtime, such as `runc`; undefined: the node's default. */
  readonly runtime?: string;
  /** Its standard input stays open for those who attach; otherwise it has none. */
  readonly stdin?: boolean;
  /** It has a terminal of its own; all it says is then `stdout`. */
  readonly terminal?: boolean;
}

export interface ContainerStatus {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  /**
   * `unknown`: it ended and nobody can say how (its monitor died, or the machine did), or it runs on without a monitor, so
   * that neither its output nor its end will be known. Removing it ends it for certain.
   */
  readonly phase: "created" | "running" | "exited" | "unknown";
  readonly pid?: number;
  /** 128 + signal for a death by signal. Present when exited. */
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
  /** Why the node ended it, for people; undefined when it was not the node. */
  readonly message?: string;
}

export interface LogLine {
  readonly stream: "stdout" | "stderr";
  /** Wall clock, milliseconds since 1970. */
  readonly atMs: number;
  /** One line without its newline; a line over 16 KiB comes in parts. */
  readonly text: string;
}

export interface LogOptions {
  /** Wait for more until the container is removed or the signal aborts. */
  readonly follow: boolean;
  /** Only the last so many lines; undefined means all that is kept. */
  readonly tail?: number;
  /** Only what was written then or later; wall clock, milliseconds since 1970. `tail` counts among those. */
  readonly sinceMs?: number;
  readonly signal: AbortSignal;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** What a container has used, and has now. A reader who wants a rate takes two. */
export interface ContainerUsage {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Monotonic milliseconds of this node; differences mean something, the value does not. */
  readonly atMs: number;
  /** Processor time since its start. */
  readonly cpuMicros: number;
  /** Without file contents that the kernel would drop at once for want of memory. */
  readonly memoryBytes: number;
  /** 0 for none. */
  readonly memoryLimitBytes: number;
  readonly pids: number;
  /** Disks, since its start. */
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Its network but the loopback, since that was made; 0 when the network is the machine's. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface ExecRequest {
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Undefined: no terminal, stdout and stderr apart. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  readonly user?: string;
  readonly workingDirectory?: string;
}

/** A process started inside a running container, or the container's own when one attaches to it. */
export interface ExecSession {
  /** Output in order; with a terminal all of it is `stdout`. Ends when the process has ended. */
  readonly output: AsyncIterable<{
    readonly stream: "stdout" | "stderr";
    readonly data: Uint8Array;
  }>;
  write(data: Uint8Array): Promise<void>;
  /** Ends its standard input. */
  closeInput(): Promise<void>;
  resize(columns: number, rows: number): void;
  /** SIGKILL to the process; harmless when it ended. */
  kill(): void;
  /** 128 + signal for a death by signal. */
  readonly exitCode: Promise<number>;
}

export interface ContainerRuntime {
  create(spec: ContainerSpec): Promise<void>;
  start(id: string): Promise<void>;
  /** A signal number to the container's first process; harmless when it has ended. */
  signal(id: string, signal: number): Promise<void>;
  /** Kills what still runs, unmounts, and forgets the container with its logs. */
  remove(id: string): Promise<void>;
  /** All containers this runtime keeps under its own directory, ended ones included. */
  list(): Promise<readonly ContainerStatus[]>;
  /** Called with the new status whenever a container ends or becomes `unknown`, at least once for each; the returned function stops it. */
  watch(listener: (status: ContainerStatus) => void): () => void;
  logs(id: string, options: LogOptions): AsyncIterable<LogLine>;
  /**
   * A program that is not there ends at once with 127, one that cannot be executed with 126; why is said on
   * its standard error. Rejects only when nothing can be run in the container.
   */
  exec(id: string, request: ExecRequest): Promise<ExecSession>;
  /**
   * Joins the container's own program: its output from now on, its input when it was made with one. `kill` and the
   * end of the input only let go of it; the exit code is the container's.
   */
  attach(id: string, terminal?: TerminalSize): Promise<ExecSession>;
  /**
   * A file or directory as a tar archive whose first name is the last one of `path`. Links on the way lead where
   * they lead for the program inside. Owners, modes and times are kept. Not only for what runs.
   */
  copyOut(id: string, path: string): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Unpacks a tar archive: into `path` when that is a directory, else under the name `path`, whose directory has to
   * exist. Resolves when all of it is there; after a failure some of it may be.
   */
  copyIn(id: string, path: string, archive: AsyncIterable<Uint8Array>): Promise<void>;
  /** Of all that run. */
  usage(): Promise<readonly ContainerUsage[]>;
  /** Stops watching; containers go on. */
  close(): Promise<void>;
}

export type RuntimeErrorInfo =
  | { readonly code: "no-such-container"; readonly id: string }
  | { readonly code: "not-running"; readonly id: string }
  /** The program is missing in the image, not executable, or the like: starting again will not help. */
  | {
      readonly code: "bad-command";
      readonly id: string;
      readonly detail: string;
    }
  /** This node cannot carry out what is asked for, such as a mount whose source it does not have: starting again will not help. */
  | { readonly code: "bad-spec"; readonly id: string; readonly detail: string }
  /** What is to be copied is not there, or cannot be put there. */
  | { readonly code: "bad-path"; readonly id: string; readonly path: string; readonly detail: string }
  | { readonly code: "unavailable"; readonly detail: string }
  | { readonly code: "failed"; readonly id: string; readonly detail: string };

export class RuntimeError extends Error {
  override readonly name = "RuntimeError";
  readonly info: RuntimeErrorInfo;
  constructor(message: string, info: RuntimeErrorInfo, options?: { cause?: unknown }) {
    super(message, options);
    this.info = info;
  }
}
