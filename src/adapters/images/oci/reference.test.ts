import { expect, test } from "bun:test";
import { ImageError } from "../../../ports/image-store.ts";
import { formatReference, parseReference } from "./reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

test.each([
  ["busybox", "docker.io/library/busybox:latest"],
  ["busybox:1.36", "docker.io/library/busybox:1.36"],
  ["team/app", "docker.io/team/app:latest"],
  ["docker.io/busybox", "docker.io/library/busybox:latest"],
  ["index.docker.io/team/app:2", "docker.io/team/app:2"],
  ["ghcr.io/org/app", "ghcr.io/org/app:latest"],
  ["localhost/app", "localhost/app:latest"],
  ["localhost:5000/app:1", "localhost:5000/app:1"],
  ["127.0.0.1:5000/deep/er/app:v1.0_x-y", "127.0.0.1:5000/deep/er/app:v1.0_x-y"],
  ["[fd99::fe]:5000/app:1", "[fd99::fe]:5000/app:1"],
  ["[::1]/app", "[::1]/app:latest"],
  [`busybox@${digest}`, `docker.io/library/busybox@${digest}`],
  [`host:5000/app:tag@${digest}`, `host:5000/app@${digest}`],
  ["a__b/c-d.e/f--g", "docker.io/a__b/c-d.e/f--g:latest"],
])("%s is %s", (text, canonical) => {
  const reference = parseReference(text);
  expect(reference.written).toBe(text);
  expect(formatReference(reference)).toBe(canonical);
  expect(formatReference(parseReference(canonical))).toBe(canonical);
});

test.each([
  ["", "empty"],
  ["UPPER CASE", "white space"],
  ["Busybox", 'lower case: "busybox"'],
  ["name:", '"" is not a tag'],
  ["name:ta/g:", '"" is not a tag'],
  ["name@sha256:beef", "not a digest"],
  ["name@md5:aaaa", "not a digest"],
  ["https://ghcr.io/a/b", 'without "https://"'],
  ["ghcr.io/", "not a name"],
  ["ghcr.io/a//b", "not a name"],
  ["a/../b", "not a name"],
  ["..", "not a name"],
  [`${"a".repeat(256)}`, "longer than 255"],
  ["host:port/app", "not a registry's host"],
  ["[::1/app", "not a registry's host"],
  ["-bad.host/app", "not a registry's host"],
  [`app:${"t".repeat(129)}`, "not a tag"],
])("%p is refused: %s", (text, detail) => {
  try {
    parseReference(text);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    expect(error.info).toMatchObject({ code: "bad-reference", reference: text });
    expect(error.message).toContain(detail);
    return;
  }
  throw new Error("it was taken");
});
