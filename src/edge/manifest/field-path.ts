/** Where in a document a value stands. Apart from what reads documents: that takes a parser along. */
export type PathKey = string | number;

/** Names that JavaScript gives a meaning of its own. */
export const reservedKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** `ports[0].container`, or `env["a b"]` where a key is no plain name. */
export function formatPath(path: readonly PathKey[]): string {
  let text = "";
  for (const key of path) {
    if (typeof key === "number") text += `[${key}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/.test(key)) text += text === "" ? key : `.${key}`;
    else text += `[${JSON.stringify(key.slice(0, 64))}]`;
  }
  return text;
}
