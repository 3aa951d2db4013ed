/**
 * A second opinion on "connection refused". Bun 1.4.5 reports every failed connect as ECONNREFUSED: no route and no
 * neighbour look like a machine that answers. So, after a refusal, one plain non-blocking connect asks the kernel for the true errno.
 */
import { isIP } from "node:net";
import { parseAddress } from "./address.ts";
import type { Address } from "../../ports/transport.ts";

const afInet = 2;
const afInet6 = 10;
/** SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC on Linux, x64 and arm64 alike. */
const socketType = 1 | 0o4000 | 0o2000000;
const solSocket = 1;
const soError = 4;
const eInProgress = 115;
const eConnRefused = 111;
/** Waits between looks, milliseconds; a machine that refuses does so within a round trip. */
const looksMs = [1, 2, 4, 8, 16, 32, 64, 128];
/** Without the second opinion: a refusal comes within a round trip, a missing neighbour is noticed after seconds. */
const promptMs = 800;

interface Kernel {
  /** The errno of connect, 0 when connected, or the descriptor to look at again while it is under way. */
  connect(address: Uint8Array, family: number): { readonly errno: number } | { readonly pending: number };
  /** SO_ERROR; 0 when nothing has failed. */
  errorOf(descriptor: number): number;
  close(descriptor: number): void;
  /** Lets go of the C library. */
  release(): void;
}

/** Whether the machine itself refused, rather than the network having no way to it. `tookMs`: how long the refusal took. */
export async function isTrueRefusal(address: Address, tookMs: number): Promise<boolean> {
  const target = parseAddress(address);
  const sockaddr = target === undefined ? undefined : sockaddrOf(target.host, target.port);
  const kernel = sockaddr === undefined ? undefined : await openKernel();
  if (sockaddr === undefined || kernel === undefined) return tookMs < promptMs;
  try {
    return await connectsToRefusal(kernel, sockaddr);
  } finally {
    kernel.release();
  }
}

async function connectsToRefusal(kernel: Kernel, sockaddr: Uint8Array): Promise<boolean> {
  const outcome = kernel.connect(sockaddr, sockaddr.byteLength === 16 ? afInet : afInet6);
  // Connected after all: the agent came back this moment, and its machine never was away.
  if ("errno" in outcome) return outcome.errno === eConnRefused || outcome.errno === 0;
  try {
    for (const ms of looksMs) {
      await new Promise((resolve) => setTimeout(resolve, ms));
      const errno = kernel.errorOf(outcome.pending);
      if (errno !== 0) return errno === eConnRefused;
    }
    return false;
  } finally {
    kernel.close(outcome.pending);
  }
}

/** `struct sockaddr_in` or `sockaddr_in6`; undefined when the host is no number. */
function sockaddrOf(host: string, port: number): Uint8Array | undefined {
  const family = isIP(host);
  if (family === 0 || host.includes("%")) return undefined;
  const bytes = new Uint8Array(family === 4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family === 4 ? afInet : afInet6, true);
  view.setUint16(2, port);
  if (family === 4) bytes.set(host.split(".").map(Number), 4);
  else ipv6Groups(host).forEach((group, i) => view.setUint16(8 + 2 * i, group));
  return bytes;
}

function ipv6Groups(host: string): number[] {
  // URL parsing turns any form, embedded IPv4 included, into compressed hexadecimal groups.
  const canonical = new URL(`http://[${host}]/`).hostname.slice(1, -1);
  const [before = "", after] = canonical.split("::");
  const groupsOf = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const head = groupsOf(before);
  const tail = after === undefined ? [] : groupsOf(after);
  return [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail];
}

/** Undefined where the C library cannot be opened. */
async function openKernel(): Promise<Kernel | undefined> {
  const { dlopen, FFIType, ptr, read } = await import("bun:ffi");
  const { i32, u32 } = FFIType;
  for (const library of ["libc.so.6", "libc.so"]) {
    try {
      const { symbols, close } = dlopen(library, {
        socket: { args: [i32, i32, i32], returns: i32 },
        connect: { args: [i32, FFIType.ptr, u32], returns: i32 },
        getsockopt: { args: [i32, i32, i32, FFIType.ptr, FFIType.ptr], returns: i32 },
        close: { args: [i32], returns: i32 },
        __errno_location: { args: [], returns: FFIType.ptr },
      });
      const errno = (): number => {
        const at = symbols.__errno_location();
        return at === null ? 0 : read.i32(at, 0);
      };
      return {
        connect: (address, family) => {
          const descriptor = symbols.socket(family, socketType, 0);
          if (descriptor < 0) return { errno: errno() };
          const result = symbols.connect(descriptor, ptr(address), address.byteLength);
          const code = result === 0 ? 0 : errno();
          if (code === eInProgress) return { pending: descriptor };
          symbols.close(descriptor);
          return { errno: code };
        },
        errorOf: (descriptor) => {
          const value = new Int32Array(1);
          const length = new Uint32Array([4]);
          symbols.getsockopt(descriptor, solSocket, soError, ptr(value), ptr(length));
          return value[0] ?? 0;
        },
        close: (descriptor) => void symbols.close(descriptor),
        release: close,
      };
    } catch {
      // Another libc names its library otherwise.
    }
  }
  return undefined;
}
