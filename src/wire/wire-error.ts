/**
 * Why bytes were refused. `malformed`: not MessagePack of the permitted kind; `too-large`: over the bound, nothing was decoded;
 * `mismatch`: well-formed, but not the shape that was asked for; `unencodable`: a value that has no form on the wire.
 */
export type WireErrorCode = "malformed" | "too-large" | "mismatch" | "unencodable";

/** Thrown by the codec. A driver catches it where it takes bytes from a peer and drops the message. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly code: WireErrorCode;
  constructor(code: WireErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
