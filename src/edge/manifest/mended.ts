/** A manifest without its faulty fields, so that the rest of it can be looked at. */
import type { PathKey } from "./field-path.ts";

/** What stands in for a field that cannot be left out; nothing else is called so. */
const standIn = "stand-in";

/** Undefined when nothing is left, or what is faulty is the list of containers itself. */
export function mended(value: unknown, paths: readonly (readonly PathKey[])[]): unknown {
  const copy: unknown = structuredClone(value);
  if (!isMap(copy)) return undefined;
  for (const [first, second, third] of paths) {
    if (typeof first !== "string") return undefined;
    if (first !== "containers" && first !== "initContainers") {
      mend(copy, first, standIn);
      continue;
    }
    const list: unknown = Reflect.get(copy, first);
    if (!Array.isArray(list) || typeof second !== "number") return undefined;
    const container: unknown = list[second];
    const name = `${standIn}-${first.toLowerCase()}-${second}`;
    if (isMap(container) && typeof third === "string") mend(container, third, name);
    else list[second] = { name, image: standIn };
  }
  return copy;
}

function mend(map: object, key: string, name: string): void {
  if (key === "name" || key === "image") Reflect.set(map, key, key === "name" ? name : standIn);
  else Reflect.deleteProperty(map, key);
}

function isMap(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
