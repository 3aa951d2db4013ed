import { expect, test } from "bun:test";
import type { Index, Platform } from "./manifest.ts";
import { choosePlatform } from "./platform.ts";

function indexOf(...platforms: readonly string[]): Index {
  return {
    manifests: platforms.map((text, at) => ({
      mediaType: "",
      digest: `sha256:${at}`,
      size: 1,
      platform: text === "" ? undefined : parse(text),
    })),
  };
}

function parse(text: string): Platform {
  const [os = "", architecture = "", variant] = text.split("/");
  return { os, architecture, variant };
}

test.each([
  ["linux/amd64", ["linux/arm64", "linux/amd64"], 1],
  ["linux/amd64", ["windows/amd64", "linux/amd64"], 1],
  ["linux/amd64", ["unknown/unknown", "", "linux/amd64"], 2],
  ["linux/amd64", ["linux/amd64", "linux/amd64"], 0],
  ["linux/amd64", ["linux/amd64/v2", "linux/amd64"], 1],
  ["linux/amd64/v3", ["linux/amd64", "linux/amd64/v4", "linux/amd64/v2"], 2],
  ["linux/arm64", ["linux/arm64/v8"], 0],
  ["linux/arm64/v8", ["linux/arm64"], 0],
  ["linux/arm64", ["linux/arm64/v9", "linux/arm64/v8"], 1],
  ["linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], 1],
  ["linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1],
])("%s takes of %p number %d", (wanted, offered, at) => {
  expect(choosePlatform(indexOf(...offered), parse(wanted))?.digest).toBe(`sha256:${at}`);
});

test.each([
  ["linux/amd64", ["linux/arm64"]],
  ["linux/amd64", ["linux/amd64/v2"]],
  ["linux/arm64", ["linux/arm/v7"]],
  ["linux/amd64", [""]],
  ["linux/amd64", []],
])("%s takes none of %p", (wanted, offered) => {
  expect(choosePlatform(indexOf(...offered), parse(wanted))).toBeUndefined();
});
