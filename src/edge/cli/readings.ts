/** Readings of what is used, a pause apart: once, or until the caller has seen enough. */
import type { MusterClient } from "../client/muster-client.ts";
import type { CliContext } from "./console.ts";
import { ratesBetween, type Rates } from "./usage-rates.ts";

/** A rate needs two readings; this much time between them is enough for one. */
const firstPauseMs = 500;

export interface ReadingOptions {
  readonly scope: "fleet" | "node";
  readonly follow: boolean;
  readonly intervalMs: number;
}

export async function* readRates(
  client: MusterClient,
  { console: { interrupted } }: CliContext,
  { scope, follow, intervalMs }: ReadingOptions,
): AsyncGenerator<Rates> {
  let before = await client.usage(scope);
  await pause(Math.min(firstPauseMs, intervalMs), interrupted);
  while (!interrupted.aborted) {
    const after = await client.usage(scope);
    yield ratesBetween(before, after);
    if (!follow) return;
    before = after;
    await pause(intervalMs, interrupted);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

/** From the top left over what is there, the rest cleared: nothing flickers. */
export function redraw(text: string): string {
  const lines = text.replaceAll("\n", "\u001b[K\n");
  return `\u001b[H${lines}\u001b[J`;
}
