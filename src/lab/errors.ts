/** What can go wrong around a lab; messages are for people. */
export type LabErrorInfo =
  | { readonly code: "exists"; readonly lab: string }
  | { readonly code: "no-lab"; readonly lab: string }
  | { readonly code: "no-machine"; readonly machine: string }
  | { readonly code: "machine-state"; readonly machine: string; readonly isOn: boolean }
  | {
      readonly code: "command-failed";
      readonly command: string;
      readonly exitCode: number;
      readonly output: string;
    }
  | { readonly code: "agent-failed"; readonly machine: string; readonly logFile: string }
  | { readonly code: "timeout"; readonly what: string; readonly afterMs: number };

export class LabError extends Error {
  override readonly name = "LabError";
  readonly info: LabErrorInfo;
  constructor(message: string, info: LabErrorInfo, options?: { cause?: unknown }) {
    super(message, options);
    this.info = info;
  }
}
