/**
 * Values to bytes and back: MessagePack holding plain data only (null, undefined, booleans, numbers, text,
 * Uint8Array, arrays, objects with text keys). A Map with text keys becomes an object, a Set an array.
 */
// The "/pack" entry has no native addon: one file must run anywhere.
import { Packr } from "msgpackr/pack";
import * as v from "valibot";
import { structureFault } from "./structure.ts";
import { WireError } from "./wire-error.ts";

/** Largest message decoded; the transport's largest frame. */
export const messageBytesMax = 16 * 1024 * 1024;

const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  int64AsType: "number",
  copyBuffers: true,
});

/** Throws WireError `unencodable` for what has no plain form (dates, symbols, big integers, non-text keys), `too-large` past the bound. */
export function encode(value: unknown): Uint8Array {
  let packed: Uint8Array;
  try {
    packed = packr.pack(value);
  } catch (cause) {
    throw new WireError("unencodable", "the value has no form on the wire", { cause });
  }
  if (packed.byteLength > messageBytesMax)
    throw new WireError("too-large", `a message of ${packed.byteLength} bytes exceeds ${messageBytesMax}`);
  const fault = structureFault(packed);
  if (fault !== undefined) throw new WireError("unencodable", `the value is not plain data: ${fault}`);
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength);
}

/** The plain value; the bytes may be reused afterwards. Throws WireError `malformed` or `too-large`. */
export function decode(bytes: Uint8Array): unknown {
  if (bytes.byteLength > messageBytesMax)
    throw new WireError("too-large", `a message of ${bytes.byteLength} bytes exceeds ${messageBytesMax}`);
  const fault = structureFault(bytes);
  if (fault !== undefined) throw new WireError("malformed", `malformed message: ${fault}`);
  try {
    // A plain view, because a Buffer would come back as Buffers.
    return packr.unpack(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (cause) {
    throw new WireError("malformed", "malformed message", { cause });
  }
}

/** `decode`, then the schema. Throws WireError `mismatch` naming the first field that is wrong. */
export function decodeAs<const Schema extends v.GenericSchema>(
  schema: Schema,
  bytes: Uint8Array,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, decode(bytes), { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new WireError("mismatch", `unexpected message: ${v.getDotPath(issue) ?? "value"}: ${issue.message}`);
}
