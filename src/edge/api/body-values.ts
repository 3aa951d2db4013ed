/** The plain values that bodies are made of. */
import * as v from "valibot";
import { describe } from "../manifest/check.ts";
import { listLengthMax, textLengthMax } from "../manifest/fields.ts";
import { plainText } from "../manifest/text-schemas.ts";

export const found = (what: string) => (issue: v.BaseIssue<unknown>) =>
  `expected ${what}, found ${describe(issue.input)}`;

export function whole(min: number, max: number) {
  const message = found(`a whole number from ${min} to ${max}`);
  return v.pipe(
    v.number(message),
    v.safeInteger(message),
    v.minValue(min, message),
    v.maxValue(max, message),
  );
}

export const text = v.pipe(
  v.string(found("text")),
  v.maxLength(textLengthMax, `longer than ${textLengthMax} characters`),
  plainText(),
);
export const texts = v.pipe(
  v.array(text, found("a list of texts")),
  v.maxLength(listLengthMax, `more than ${listLengthMax} items`),
);
export const flag = v.boolean(found("true or false"));
