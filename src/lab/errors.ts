/** What can go wrong around a lab; messages are for people. */
export type LabErrorInfo =
  | { readonly code: "exists"; readonly lab: string }
  | { readonly code: "no-lab"; readonly lab: string }
  | { readonly code: "no-machine"; readonly machine: string }
  | { readonly code: "machine-state"; readonly machine: string; readonly isOn: boolean }
  | { readonly code: "agent-state"; readonly machine: string; readonly isRunning: boolean }
  | { readonly code: "command-failed"; readonly command: string; readonly output: string }
  | { readonly code: "agent-failed"; readonly machine: string; readonly logTail: string }
  | { readonly code: "unsuitable"; readonly what: string }
  | { readonly code: "timeout"; readonly what: string; readonly afterMs: number };

/** Thrown by everything that makes, breaks or looks into a lab. */
export class LabError extends Error {
  override readonly name = "LabError";
  readonly info: LabErrorInfo;
  /** One sentence for the user: what to do about it. */
  readonly next: string | undefined;
  constructor(message: string, info: LabErrorInfo, options?: { next?: string; cause?: unknown }) {
    super(message, options);
    this.info = info;
    this.next = options?.next;
  }
}
