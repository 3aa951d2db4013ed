/** Who listens on a port of this machine, from the tables in /proc/net (proc_net(5)). */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { ptr } from "bun:ffi";
import type { LibC } from "./libc.ts";

const closeOnExec = 0o2_000_000;
const listening = "0A";
const unconnected = "07";

/** The inode of a socket that holds the port; undefined when there is none. `table` is a file such as /proc/net/tcp6. */
export function findListener(table: string, port: number, protocol: "tcp" | "udp"): string | undefined {
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  const state = protocol === "tcp" ? listening : unconnected;
  for (const line of table.split("\n").slice(1)) {
    const fields = line.trim().split(/\s+/);
    if (fields[3] === state && fields[1]?.endsWith(`:${wanted}`) === true) return fields[9];
  }
  return undefined;
}

/** Words for whoever has the port in this network namespace; undefined when it is free. */
export function listenerName(libc: LibC, port: number, protocol: "tcp" | "udp"): string | undefined {
  // The tables take the kernel milliseconds to print, so they are read only when the port may be taken:
  // a connection that is closing holds it too, and is no reason to refuse.
  if (isBindable(libc, port, protocol)) return undefined;
  for (const version of ["", "6"]) {
    const inode = findListener(tableText(`/proc/net/${protocol}${version}`), port, protocol);
    if (inode !== undefined) return socketOwner(inode) ?? "another program";
  }
  return undefined;
}

/** Whether a socket on all addresses could have the port, in both families. */
function isBindable(libc: LibC, port: number, protocol: "tcp" | "udp"): boolean {
  const type = (protocol === "tcp" ? 1 : 2) | closeOnExec;
  return [
    { family: 2, addressBytes: 16 },
    { family: 10, addressBytes: 28 },
  ].every(({ family, addressBytes }) => {
    const address = Buffer.alloc(addressBytes);
    address.writeUInt16LE(family, 0);
    address.writeUInt16BE(port, 2);
    const fd = libc.symbols.socket(family, type, 0);
    if (fd < 0) return false;
    const isBound = libc.symbols.bind(fd, ptr(address), addressBytes) === 0;
    libc.symbols.close(fd);
    return isBound;
  });
}

/** Reads every process's open files: only for a refusal, where a name saves a search. */
function socketOwner(inode: string): string | undefined {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name)))
    try {
      const files = `/proc/${pid}/fd`;
      for (const fd of readdirSync(files))
        if (readLink(`${files}/${fd}`) === `socket:[${inode}]`)
          return `program ${readFileSync(`/proc/${pid}/comm`, "utf8").trim()} (pid ${pid})`;
    } catch {
      // It ended meanwhile, or is not ours to look into: then it stays without a name.
    }
  return undefined;
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Empty without that table: a kernel without IPv6 has no sockets of it. */
function tableText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
