/** The caller's end of an exec session: the same ExecSession the agent has, over a WebSocket. */
import { ProblemError, type Problem } from "../../model/problem.ts";
import type { ExecSession } from "../../ports/container-runtime.ts";
import {
  decodeFrame,
  encodeFrame,
  framePieces,
  inputWindowBytes,
  type ExecFrame,
} from "../api/exec-frames.ts";
import { AgentUnreachable } from "./failures.ts";

interface OutputChunk {
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
}

/** Opens the session; resolves when the process has begun, rejects with its problem when it cannot. */
export function openSession(socketPath: string, path: string, request: object): Promise<ExecSession> {
  const socket = new WebSocket(`ws+unix://${socketPath}:${path}`);
  socket.binaryType = "arraybuffer";
  const started = Promise.withResolvers<ExecSession>();
  const session = new RemoteExec(socket);
  socket.addEventListener("open", () => socket.send(JSON.stringify(request)));
  socket.addEventListener("error", () => started.reject(new AgentUnreachable(socketPath)));
  socket.addEventListener("message", (event) => {
    const data: unknown = event.data;
    if (data instanceof ArrayBuffer) {
      session.accept(new Uint8Array(data));
      return;
    }
    const message: { started?: true; problem?: Problem } = JSON.parse(String(data));
    if (message.problem === undefined) started.resolve(session);
    else {
      const error = new ProblemError(message.problem);
      started.reject(error);
      session.end(error);
    }
  });
  socket.addEventListener("close", () => {
    const error = new ProblemError({
      code: "unreachable",
      message: "the agent closed the session before the command had ended",
    });
    started.reject(error);
    session.end(error);
  });
  return started.promise;
}

class RemoteExec implements ExecSession {
  readonly exitCode: Promise<number>;
  readonly #socket: WebSocket;
  readonly #exit = Promise.withResolvers<number>();
  #chunks: OutputChunk[] = [];
  #unacknowledgedBytes = 0;
  #ended: { readonly error?: Error } | undefined;
  /** Resolved and replaced whenever something arrives. */
  #arrival = Promise.withResolvers<void>();

  constructor(socket: WebSocket) {
    this.#socket = socket;
    this.exitCode = this.#exit.promise;
    // Whoever never asks for the code must not end the program by not asking.
    this.exitCode.catch(() => undefined);
  }

  accept(bytes: Uint8Array): void {
    const frame = decodeFrame(bytes);
    if (frame === undefined) return;
    switch (frame.kind) {
      case "stdout":
      case "stderr":
        this.#chunks.push({ stream: frame.kind, data: frame.data });
        break;
      case "credit":
        this.#unacknowledgedBytes -= frame.bytes;
        break;
      case "exit":
        this.#ended = {};
        this.#exit.resolve(frame.code);
        break;
      default:
        return;
    }
    this.#wake();
  }

  end(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error };
    this.#exit.reject(error);
    this.#wake();
  }

  get output(): AsyncIterable<OutputChunk> {
    return this.#read();
  }

  async *#read(): AsyncGenerator<OutputChunk> {
    for (;;) {
      const chunks = this.#chunks;
      this.#chunks = [];
      yield* chunks;
      if (this.#chunks.length > 0) continue;
      if (this.#ended?.error !== undefined) throw this.#ended.error;
      if (this.#ended !== undefined) return;
      await this.#arrival.promise;
    }
  }

  async write(data: Uint8Array): Promise<void> {
    for (const piece of framePieces(data)) {
      while (this.#ended === undefined && this.#unacknowledgedBytes + piece.length > inputWindowBytes)
        await this.#arrival.promise;
      if (this.#ended !== undefined) return;
      this.#unacknowledgedBytes += piece.length;
      this.#send({ kind: "stdin", data: piece });
    }
  }

  async closeInput(): Promise<void> {
    this.#send({ kind: "stdin-end" });
  }

  resize(columns: number, rows: number): void {
    this.#send({ kind: "resize", columns, rows });
  }

  /** The agent kills the process when the connection goes. */
  kill(): void {
    this.#socket.close();
  }

  #send(frame: ExecFrame): void {
    if (this.#ended === undefined && this.#socket.readyState === WebSocket.OPEN)
      this.#socket.send(encodeFrame(frame));
  }

  #wake(): void {
    const arrival = this.#arrival;
    this.#arrival = Promise.withResolvers<void>();
    arrival.resolve();
  }
}
