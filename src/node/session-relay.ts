/** A session with a program on another node: input and output as messages over one stream between the two. */
import * as v from "valibot";
import { ProblemError, type Problem } from "../model/problem.ts";
import type { ExecSession } from "../ports/container-runtime.ts";
import { TransportError, type Duplex } from "../ports/transport.ts";
import { execInputSchema, execOutputSchema } from "../wire/calls.ts";
import { MessageStream } from "./message-stream.ts";

/** The asking end. Rejects with the problem that kept the session from beginning. */
export async function openSession(duplex: Duplex, nodeName: string): Promise<ExecSession> {
  const stream = new MessageStream(duplex);
  const messages = stream.messages();
  const first = await messages.next();
  if (first.done === true)
    throw new ProblemError({ code: "unreachable", message: "the node ended the session before it began" });
  const started = v.parse(execOutputSchema, first.value);
  if (started.kind === "problem") throw new ProblemError(toProblem(started.problem));
  return remoteSession(stream, messages, nodeName);
}

/** The holder's end; what keeps the session from beginning or going on is told as a problem. */
export async function serveSession(duplex: Duplex, begin: () => Promise<ExecSession>): Promise<void> {
  const stream = new MessageStream(duplex);
  let session: ExecSession | undefined;
  try {
    session = await begin();
    const running = session;
    await stream.send({ kind: "started" });
    void feedSession(stream, running);
    for await (const { stream: name, data } of running.output)
      await stream.send({ kind: "output", stream: name, data });
    await stream.send({ kind: "exit", code: await running.exitCode });
    await stream.finish();
  } catch (error) {
    session?.kill();
    await stream.send({ kind: "problem", problem: problemFrom(error) }).then(
      () => stream.finish(),
      () => duplex.abort(),
    );
  }
}

/** What is told of a failure to those who asked. */
export function problemFrom(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return { code: "internal", message: error instanceof Error ? error.message : String(error) };
}

/** What comes from the other end goes to the process; when the other end is gone, so is the process. */
async function feedSession(stream: MessageStream, session: ExecSession): Promise<void> {
  try {
    for await (const message of stream.messages()) {
      const input = v.parse(execInputSchema, message);
      if (input.kind === "input") await session.write(input.data);
      else if (input.kind === "end") await session.closeInput();
      else if (input.kind === "resize") session.resize(input.columns, input.rows);
      else session.kill();
    }
  } catch {
    session.kill();
  }
}

function remoteSession(
  stream: MessageStream,
  messages: AsyncGenerator<unknown>,
  nodeName: string,
): ExecSession {
  const exit = Promise.withResolvers<number>();
  // Without a reader of the exit code a broken stream must not end the agent.
  exit.promise.catch(() => {});
  const output = async function* (): AsyncGenerator<{ stream: "stdout" | "stderr"; data: Uint8Array }> {
    try {
      for await (const message of messages) {
        const frame = v.parse(execOutputSchema, message);
        if (frame.kind === "output") yield { stream: frame.stream, data: frame.data };
        if (frame.kind === "exit") return exit.resolve(frame.code);
        if (frame.kind === "problem") throw new ProblemError(toProblem(frame.problem));
      }
      throw new ProblemError({ code: "unreachable", message: "the node went away during the exec" });
    } catch (error) {
      const failure = brokenOff("the command", nodeName, error);
      exit.reject(failure);
      throw failure;
    }
  };
  const say = (message: unknown): void => void stream.send(message).catch(() => stream.abort());
  return {
    output: output(),
    write: async (data) => stream.send({ kind: "input", data }),
    closeInput: async () => stream.send({ kind: "end" }),
    resize: (columns, rows) => say({ kind: "resize", columns, rows }),
    kill: () => say({ kind: "kill" }),
    exitCode: exit.promise,
  };
}

export function toProblem(problem: { readonly code: Problem["code"]; readonly message: string }): Problem {
  return { code: problem.code, message: problem.message };
}

/** A node that goes away in the middle is no fault of the agent that tells of it. */
export function brokenOff(what: string, nodeName: string, error: unknown): unknown {
  if (!(error instanceof TransportError)) return error;
  return new ProblemError(
    {
      code: "unreachable",
      message: `${nodeName} broke off ${what}: ${error.message}`,
      next: "run it again; muster nodes shows who is up",
    },
    { cause: error },
  );
}
