/** The server's end of one exec session: frames to a process, and what it says back to frames. */
import type { Outcome } from "../../model/outcome.ts";
import { ProblemError, type Problem } from "../../model/problem.ts";
import type { ExecSession } from "../../ports/container-runtime.ts";
import { decodeFrame, encodeFrame, framePieces, inputWindowBytes, type ExecFrame } from "./exec-frames.ts";
import { problemOf } from "./problem-status.ts";

/** What the session needs of a WebSocket; Bun's ServerWebSocket is one. */
export interface ExecPeer {
  /** -1 when the bytes wait for a slow reader, 0 when they are lost. */
  send(data: string | Uint8Array<ArrayBuffer>): number;
  close(code: number, reason: string): void;
}

/** Begins the session that the first message asks for. */
export type BeginSession = (json: string) => Promise<Outcome<ExecSession, Problem>>;

type Phase =
  | { readonly kind: "waiting" }
  | { readonly kind: "starting" }
  | { readonly kind: "running"; readonly session: ExecSession }
  | { readonly kind: "closed" };

export class ExecSocket {
  readonly #begin: BeginSession;
  #phase: Phase = { kind: "waiting" };
  #input: Promise<void> = Promise.resolve();
  #inputBytes = 0;
  #drained: (() => void) | undefined;

  constructor(begin: BeginSession) {
    this.#begin = begin;
  }

  async message(peer: ExecPeer, data: string | Uint8Array): Promise<void> {
    if (this.#phase.kind === "closed") return;
    if (this.#phase.kind === "waiting" && typeof data === "string") {
      this.#phase = { kind: "starting" };
      await this.#start(peer, data);
      return;
    }
    const frame = typeof data === "string" ? undefined : decodeFrame(data);
    if (
      this.#phase.kind === "running" &&
      frame !== undefined &&
      this.#accept(peer, this.#phase.session, frame)
    )
      return;
    this.#refuse(
      peer,
      new ProblemError({ code: "invalid-request", message: "this message is not expected here" }),
    );
  }

  /** The peer takes bytes again. */
  drain(): void {
    this.#drained?.();
    this.#drained = undefined;
  }

  closed(): void {
    if (this.#phase.kind === "running") this.#phase.session.kill();
    this.#phase = { kind: "closed" };
    this.drain();
  }

  async #start(peer: ExecPeer, json: string): Promise<void> {
    try {
      const started = await this.#begin(json);
      if (!started.ok) throw new ProblemError(started.error);
      // The peer may be gone by the time the process has begun.
      if (this.#isClosed()) {
        started.value.kill();
        return;
      }
      this.#phase = { kind: "running", session: started.value };
      peer.send(JSON.stringify({ started: true }));
      await this.#pump(peer, started.value);
    } catch (error) {
      this.#refuse(peer, error);
    }
  }

  async #pump(peer: ExecPeer, session: ExecSession): Promise<void> {
    for await (const { stream, data } of session.output)
      for (const piece of framePieces(data)) {
        if (this.#isClosed()) return;
        const drained = new Promise<void>((resolve) => {
          this.#drained = resolve;
        });
        if (peer.send(encodeFrame({ kind: stream, data: piece })) === -1) await drained;
      }
    const code = await session.exitCode;
    if (this.#isClosed()) return;
    peer.send(encodeFrame({ kind: "exit", code }));
    this.#phase = { kind: "closed" };
    peer.close(1000, "");
  }

  #isClosed(): boolean {
    return this.#phase.kind === "closed";
  }

  #accept(peer: ExecPeer, session: ExecSession, frame: ExecFrame): boolean {
    switch (frame.kind) {
      case "stdin": {
        const bytes = frame.data.length;
        this.#inputBytes += bytes;
        if (this.#inputBytes > inputWindowBytes) return false;
        // The frame's buffer belongs to the socket once this call returns.
        const data = frame.data.slice();
        this.#queueInput(async () => {
          await session.write(data);
          this.#inputBytes -= bytes;
          if (!this.#isClosed()) peer.send(encodeFrame({ kind: "credit", bytes }));
        });
        return true;
      }
      case "stdin-end":
        this.#queueInput(() => session.closeInput());
        return true;
      case "resize":
        session.resize(frame.columns, frame.rows);
        return true;
      default:
        return false;
    }
  }

  /** Input that a process no longer reads is lost, as it is with a pipe: its exit says the rest. */
  #queueInput(step: () => Promise<void>): void {
    this.#input = this.#input.then(step).catch(() => undefined);
  }

  #refuse(peer: ExecPeer, error: unknown): void {
    if (this.#phase.kind === "closed") return;
    if (this.#phase.kind === "running") this.#phase.session.kill();
    this.#phase = { kind: "closed" };
    peer.send(JSON.stringify({ problem: problemOf(error) }));
    peer.close(1011, "problem");
  }
}
