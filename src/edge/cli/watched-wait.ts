import type { CliContext } from "./console.ts";
import { ProgressLine } from "./progress-line.ts";
import type { WaitOptions } from "./wait.ts";

/** Waits, with a line on the terminal that says how far it is and is gone afterwards. */
export async function watchedWait<T>(
  context: CliContext,
  timeoutMs: number,
  wait: (options: WaitOptions) => Promise<T>,
): Promise<T> {
  const line = new ProgressLine(context);
  let shown = Promise.resolve();
  const onState = (state: string): void => {
    shown = shown.then(() => line.show(state));
  };
  try {
    return await wait({ timeoutMs, signal: context.console.interrupted, onState });
  } finally {
    await shown;
    await line.clear();
  }
}
