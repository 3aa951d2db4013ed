/**
 * What travels over the exec WebSocket. The client opens it and sends one text message, the request
 * (`{"args": [...], "env": [...], "terminal"?, "user"?, "workingDirectory"?}`). The server answers with
 * one text message, `{"started": true}` or `{"problem": {...}}`. Then both send binary frames: one tag byte and
 * a payload.
 *
 * Input is flow controlled: the client keeps at most `inputWindowBytes` unacknowledged, and the server
 * gives credit back as the process takes the input.
 */
export type ExecFrame =
  | { readonly kind: "stdin"; readonly data: Uint8Array }
  | { readonly kind: "stdout"; readonly data: Uint8Array }
  | { readonly kind: "stderr"; readonly data: Uint8Array }
  | { readonly kind: "resize"; readonly columns: number; readonly rows: number }
  | { readonly kind: "exit"; readonly code: number }
  | { readonly kind: "stdin-end" }
  /** So many bytes of input were taken. */
  | { readonly kind: "credit"; readonly bytes: number };

/** The tag byte of each kind: part of the API, never given another meaning. */
const tags = {
  stdin: 0,
  stdout: 1,
  stderr: 2,
  resize: 3,
  exit: 4,
  "stdin-end": 5,
  credit: 6,
} as const;

export const inputWindowBytes = 256 * 1024;
/** Largest frame that either side sends, tag included. */
export const frameBytesMax = 64 * 1024;

export function encodeFrame(frame: ExecFrame): Uint8Array<ArrayBuffer> {
  switch (frame.kind) {
    case "stdin":
    case "stdout":
    case "stderr": {
      const bytes = new Uint8Array(1 + frame.data.length);
      bytes[0] = tags[frame.kind];
      bytes.set(frame.data, 1);
      return bytes;
    }
    case "resize": {
      const bytes = new Uint8Array(5);
      const view = new DataView(bytes.buffer);
      view.setUint8(0, tags.resize);
      view.setUint16(1, frame.columns);
      view.setUint16(3, frame.rows);
      return bytes;
    }
    case "exit":
    case "credit": {
      const bytes = new Uint8Array(5);
      const view = new DataView(bytes.buffer);
      view.setUint8(0, tags[frame.kind]);
      view.setUint32(1, frame.kind === "exit" ? frame.code : frame.bytes);
      return bytes;
    }
    case "stdin-end":
      return new Uint8Array([tags["stdin-end"]]);
  }
}

/** Undefined for bytes that are no frame. The data of a frame is a view of `bytes`. */
export function decodeFrame(bytes: Uint8Array): ExecFrame | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (bytes[0]) {
    case tags.stdin:
      return { kind: "stdin", data: bytes.subarray(1) };
    case tags.stdout:
      return { kind: "stdout", data: bytes.subarray(1) };
    case tags.stderr:
      return { kind: "stderr", data: bytes.subarray(1) };
    case tags.resize:
      if (bytes.length !== 5) return undefined;
      return { kind: "resize", columns: view.getUint16(1), rows: view.getUint16(3) };
    case tags.exit:
      return bytes.length === 5 ? { kind: "exit", code: view.getUint32(1) } : undefined;
    case tags["stdin-end"]:
      return bytes.length === 1 ? { kind: "stdin-end" } : undefined;
    case tags.credit:
      return bytes.length === 5 ? { kind: "credit", bytes: view.getUint32(1) } : undefined;
    default:
      return undefined;
  }
}

/** Cuts data so that each piece fits into one frame. */
export function* framePieces(data: Uint8Array): Generator<Uint8Array> {
  const size = frameBytesMax - 1;
  for (let start = 0; start < data.length; start += size) yield data.subarray(start, start + size);
}
