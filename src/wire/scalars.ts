/** Schemas of the plain values that nouns are made of. */
import * as v from "valibot";

export const idSchema = v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/, "expected 32 hex digits"));
export const groupIdSchema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{32}\.\d{1,10}\.[0-9a-f]{8}$/, "expected a group id"),
);
export const promiseIdSchema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{32}\.\d{1,10}\.[0-9a-f]{8}\/\d{1,12}$/, "expected a promise id"),
);
export const countSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Wall-clock readings may be fractional or skewed; they only have to be finite. */
export const millisSchema = v.pipe(v.number(), v.finite());
export const textSchema = v.pipe(v.string(), v.maxLength(4_096));
export const nameSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(63));
export const bytesSchema = v.instance(Uint8Array);
