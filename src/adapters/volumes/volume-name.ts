const pattern = /^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/i;

/** What may stand in a path as one directory: no separator, no `..`, nothing hidden. */
export function isVolumeName(text: string): boolean {
  return pattern.test(text);
}
