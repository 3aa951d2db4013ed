/** Files of the node that stand in for the image's: /etc/hosts, /etc/hostname and /etc/resolv.conf. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerSpec } from "../../../ports/container-runtime.ts";
import { readIfThere, type BundlePaths } from "./bundle.ts";

/** Where resolvers are that can be reached from another network namespace; the first is the machine's word, the second systemd-resolved's. */
const resolverFiles = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] as const;

/** Writes them into the bundle; name in the container to path on the node. */
export function writeContainerFiles(paths: BundlePaths, spec: ContainerSpec): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  const write = (name: string, text: string) => {
    const path = join(paths.directory, name);
    writeFileSync(path, text, { mode: 0o644 });
    files.set(`/etc/${name}`, path);
  };
  write("hosts", hostsFile(spec));
  write("hostname", `${spec.hostname}\n`);
  write("resolv.conf", resolverFile());
  return files;
}

function hostsFile(spec: ContainerSpec): string {
  const own = spec.addresses ?? ["127.0.1.1"];
  return [
    "127.0.0.1 localhost",
    "::1 localhost ip6-localhost ip6-loopback",
    ...own.map((address) => `${address} ${spec.hostname}`),
    "",
  ].join("\n");
}

function resolverFile(): string {
  let text = "";
  for (const path of resolverFiles) {
    text = withoutLoopback(readIfThere(path) ?? "");
    if (/^\s*nameserver\s/m.test(text)) return text;
  }
  return text;
}

/** A resolver on the node's loopback is not there inside a container. */
export function withoutLoopback(text: string): string {
  return text
    .split("\n")
    .filter((line) => !/^\s*nameserver\s+(127\.|::1\s*$)/.test(line))
    .join("\n");
}
