/** Joins a session with a program to the caller's console, until the program ends or the caller lets go. */
import type { ExecSession } from "../../ports/container-runtime.ts";
import type { CliContext, ConsoleTerminal } from "./console.ts";

export interface Attendance {
  /** Undefined: the program has none, or the caller has none. */
  readonly terminal: ConsoleTerminal | undefined;
  readonly passesInput: boolean;
  /** Typed after each other, they end the session and leave the program alone. */
  readonly detachKeys: readonly number[];
}

export type Departure =
  | { readonly kind: "ended"; readonly exitCode: number }
  | { readonly kind: "detached" }
  | { readonly kind: "interrupted" };

export async function attend(
  session: ExecSession,
  { console }: CliContext,
  { terminal, passesInput, detachKeys }: Attendance,
): Promise<Departure> {
  const undo: (() => void)[] = [];
  const left = { isDetached: false };
  const interrupt = (): void => session.kill();
  console.interrupted.addEventListener("abort", interrupt, { once: true });
  if (console.interrupted.aborted) interrupt();
  undo.push(() => console.interrupted.removeEventListener("abort", interrupt));
  if (terminal !== undefined) {
    if (passesInput) undo.push(terminal.raw());
    undo.push(
      terminal.onResize(() => {
        const { columns, rows } = terminal.size();
        session.resize(columns, rows);
      }),
    );
  }
  const detach = (): void => {
    left.isDetached = true;
    session.kill();
  };
  try {
    // Not awaited: input may never end, and the program's end is what counts.
    if (passesInput) void passInput(session, beforeKeys(console.input(), detachKeys, detach));
    else await session.closeInput();
    for await (const { stream, data } of session.output)
      await (stream === "stdout" ? console.write(data) : console.complain(data));
    return { kind: "ended", exitCode: await session.exitCode };
  } catch (error) {
    if (left.isDetached) return { kind: "detached" };
    if (console.interrupted.aborted) return { kind: "interrupted" };
    throw error;
  } finally {
    for (const step of undo.toReversed()) step();
  }
}

async function passInput(session: ExecSession, input: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const data of input) await session.write(data);
  await session.closeInput();
}

/** The input until `keys` come after each other in it, also across its pieces; then `found` is called. */
export async function* beforeKeys(
  input: AsyncIterable<Uint8Array>,
  keys: readonly number[],
  found: () => void,
): AsyncGenerator<Uint8Array> {
  let matched = 0;
  for await (const piece of input) {
    const passed: number[] = [];
    for (const byte of piece) {
      if (keys.length > 0 && byte === keys[matched]) {
        matched += 1;
        if (matched < keys.length) continue;
        yield Uint8Array.from(passed);
        found();
        return;
      }
      // What looked like the keys was meant for the program.
      passed.push(...keys.slice(0, matched));
      matched = keys.length > 0 && byte === keys[0] ? 1 : 0;
      if (matched === 0) passed.push(byte);
    }
    if (passed.length > 0) yield Uint8Array.from(passed);
  }
  if (matched > 0) yield Uint8Array.from(keys.slice(0, matched));
}
