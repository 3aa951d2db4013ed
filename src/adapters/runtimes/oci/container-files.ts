/**
 * Files of the node that stand in for the image's: /etc/hosts, /etc/hostname and /etc/resolv.conf, which the program may
 * change, and those that the user declared, which it may not.
 */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerSpec } from "../../../ports/container-runtime.ts";
import { readIfThere, type BundlePaths } from "./bundle.ts";
import { resolverFile } from "./resolver-file.ts";

export interface ContainerFile {
  /** Inside. */
  readonly path: string;
  /** On the node. */
  readonly source: string;
  readonly isReadOnly: boolean;
}

/** Writes them into the bundle. `owner` is the user of the machine that is root inside. */
export function writeContainerFiles(
  paths: BundlePaths,
  spec: ContainerSpec,
  owner: number,
): readonly ContainerFile[] {
  const declared = spec.files ?? [];
  const isDeclared = (path: string) => declared.some((file) => file.path === path);
  const files: ContainerFile[] = [];
  const write = (path: string, source: string, content: string, mode: number, isReadOnly: boolean) => {
    writeFileSync(source, content, { mode: 0o600 });
    if (owner !== 0) chownSync(source, owner, owner);
    // The mode of the call above would be cut by the umask, and changing the owner clears bits of it.
    chmodSync(source, mode);
    files.push({ path, source, isReadOnly });
  };
  const system: [string, string][] = [
    ["hosts", hostsFile(spec)],
    ["hostname", `${spec.hostname}\n`],
    ["resolv.conf", resolverFile(readIfThere)],
  ];
  for (const [name, content] of system)
    if (!isDeclared(`/etc/${name}`))
      write(`/etc/${name}`, join(paths.directory, name), content, 0o644, false);
  if (declared.length > 0) mkdirSync(paths.files, { mode: 0o711 });
  for (const [index, { path, content, mode }] of declared.entries())
    write(path, join(paths.files, String(index)), content, mode, true);
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
