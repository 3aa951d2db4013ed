/** Answers that go on: newline-delimited JSON and server-sent events, pulled at the reader's pace. */
import { problemOf } from "./problem-status.ts";

const encoder = new TextEncoder();

/** One JSON value a line; a failure on the way is a last line `{"problem": ...}`. */
export function linesResponse<T>(items: AsyncIterable<T>, abort: AbortController): Response {
  return streamResponse(items, abort, "application/x-ndjson", {
    item: (item) => `${JSON.stringify(item)}\n`,
    failure: (error) => `${JSON.stringify({ problem: problemOf(error) })}\n`,
  });
}

/** Server-sent events; a failure on the way is a last event named `problem`. */
export function eventsResponse<T>(
  items: AsyncIterable<T>,
  abort: AbortController,
  id: (item: T) => string,
): Response {
  return streamResponse(items, abort, "text/event-stream", {
    item: (item) => `id: ${id(item)}\ndata: ${JSON.stringify(item)}\n\n`,
    failure: (error) => `event: problem\ndata: ${JSON.stringify(problemOf(error))}\n\n`,
  });
}

/**
 * Bytes as they are. What fails before the first piece rejects; what fails after it breaks the connection, so that nobody takes a
 * part for the whole.
 */
export async function bytesResponse(
  source: AsyncIterable<Uint8Array>,
  abort: AbortController,
  contentType: string,
): Promise<Response> {
  const pieces = source[Symbol.asyncIterator]();
  let next: IteratorResult<Uint8Array> | undefined = await pieces.next();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = next ?? (await pieces.next());
        next = undefined;
        if (done === true) controller.close();
        else controller.enqueue(value);
      } catch {
        // An error given here is printed to standard error by the server, trace and all.
        controller.error(undefined);
      }
    },
    async cancel() {
      abort.abort();
      await pieces.return?.();
    },
  });
  return new Response(body, { headers: { "content-type": contentType } });
}

interface StreamFormat<T> {
  readonly item: (item: T) => string;
  readonly failure: (error: unknown) => string;
}

function streamResponse<T>(
  items: AsyncIterable<T>,
  abort: AbortController,
  contentType: string,
  format: StreamFormat<T>,
): Response {
  const iterator = items[Symbol.asyncIterator]();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await iterator.next();
        if (done === true) controller.close();
        else controller.enqueue(encoder.encode(format.item(value)));
      } catch (error) {
        if (!abort.signal.aborted) controller.enqueue(encoder.encode(format.failure(error)));
        controller.close();
      }
    },
    async cancel() {
      abort.abort();
      await iterator.return?.();
    },
  });
  return new Response(body, { headers: { "content-type": contentType, "cache-control": "no-store" } });
}
