/** When an instance that ended, or a step that failed, is tried again. */
import type { RestartPolicy } from "../../model/spec.ts";
import type { ObservedContainer } from "./messages.ts";
import type { KeeperOptions } from "./options.ts";

/** Whether an instance that ended runs again; without an exit code nobody can say how it ended. */
export function shouldRestart(policy: RestartPolicy, exitCode: number | undefined): boolean {
  switch (policy) {
    case "always":
      return true;
    case "on-failure":
      return exitCode !== 0;
    case "never":
      return false;
  }
}

/** Wait before the restart after the `crashes`-th end in a row: 0, then doubling from the least. */
export function crashDelayMs(crashes: number, options: KeeperOptions): number {
  return crashes <= 1 ? 0 : doubled(crashes - 2, options);
}

/** Wait after the `failures`-th failed step in a row. */
export function failureDelayMs(failures: number, isPermanent: boolean, options: KeeperOptions): number {
  const delay = doubled(failures - 1, options);
  return isPermanent ? Math.max(delay, options.permanentBackoffMs) : delay;
}

function doubled(times: number, options: KeeperOptions): number {
  // Bounded before the shift, so that no count of failures overflows it.
  return Math.min(options.backoffMaxMs, options.backoffMinMs * 2 ** Math.min(times, 30));
}

/** How a container ended, for people. */
export function describeEnd(status: ObservedContainer | undefined): string {
  if (status?.message !== undefined) return status.message;
  if (status?.oomKilled === true) return "killed: out of memory";
  if (status?.exitCode === undefined) return "ended, and nobody saw how (the machine or its monitor stopped)";
  return `exited with ${status.exitCode}`;
}
