/**
 * The format of data-driven tests: a command line with arguments, optional input lines, a line `----`, the
 * expected output up to an empty line. Lines that start with `#` outside a case are comments.
 */
export interface TranscriptCase {
  /** Line of the command, counted from 1. */
  readonly line: number;
  readonly command: string;
  /** Arguments in order: `key=a`, `key=(a,b)` or a bare `key` without values. */
  readonly args: readonly TranscriptArg[];
  readonly input: readonly string[];
  readonly expected: readonly string[];
}

export interface TranscriptArg {
  readonly key: string;
  readonly values: readonly string[];
}

export function parseTranscript(text: string): TranscriptCase[] {
  const lines = text.split("\n");
  const cases: TranscriptCase[] = [];
  let at = 0;
  const current = (): string => lines[at] ?? "";
  while (at < lines.length) {
    if (current().trim() === "" || current().startsWith("#")) {
      at++;
      continue;
    }
    const line = at + 1;
    const [command = "", ...args] = splitArgs(current());
    at++;
    const input: string[] = [];
    for (; at < lines.length && current() !== "----"; at++) input.push(current());
    at++;
    const expected: string[] = [];
    for (; at < lines.length && current() !== ""; at++) expected.push(current());
    cases.push({ line, command, args: args.map(parseArg), input, expected });
  }
  return cases;
}

/** The values of an argument; empty when it is absent or bare. */
export function argValues(one: TranscriptCase, key: string): readonly string[] {
  return one.args.find((arg) => arg.key === key)?.values ?? [];
}

/** Splits at spaces that stand outside parentheses. */
function splitArgs(line: string): string[] {
  const parts: string[] = [];
  let part = "";
  let depth = 0;
  for (const char of line) {
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (char === " " && depth === 0) {
      if (part !== "") parts.push(part);
      part = "";
    } else {
      part += char;
    }
  }
  if (part !== "") parts.push(part);
  return parts;
}

function parseArg(text: string): TranscriptArg {
  const equals = text.indexOf("=");
  if (equals === -1) return { key: text, values: [] };
  const value = text.slice(equals + 1).replace(/^\(|\)$/g, "");
  const values = value.split(",").map((one) => one.trim());
  return { key: text.slice(0, equals), values: values.filter((one) => one !== "") };
}
