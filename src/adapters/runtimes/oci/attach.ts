/**
 * Joins a container's own program by conmon's attach socket. conmon sends each piece of output as one packet, a
 * byte that names the stream before it, and takes packets of input as they are; the socket keeps packets apart.
 */
import { dlopen, ptr, read } from "bun:ffi";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Socket } from "bun";
import type { ContainerStatus, ExecSession, TerminalSize } from "../../../ports/container-runtime.ts";
import type { Clock } from "../../../ports/clock.ts";
import { isErrno } from "./bundle.ts";
import { ChunkQueue } from "./chunk-queue.ts";

declare module "bun" {
  /** Bun takes a descriptor and declares the options for it (FdSocketOptions), but not the function. */
  function connect(options: FdSocketOptions): Promise<Socket>;
}

const unixFamily = 1;
const seqPacket = 5;
const closeOnExec = 0o2000000;
const nonBlocking = 0o4000;
const pathBytesMax = 108;
const addressBytes = 2 + pathBytesMax;
/** conmon's own buffer for input. */
const packetBytesMax = 8_192;
const standardError = 3;
/** Output that nobody takes is kept up to here; then the session ends, and the program goes on. */
const outputBytesMax = 16 * 1024 * 1024;
/** conmon closes the socket a little before it has written down how the program ended. */
const exitWaitMs = 2_000;
const exitPauseMs = 10;
const endOfTransmission = Uint8Array.of(4);

export interface AttachPorts {
  readonly clock: Clock;
  readonly status: () => ContainerStatus | undefined;
}

export interface AttachPlace {
  /** The container's directory; conmon's socket and its pipe for sizes are in there. */
  readonly directory: string;
  /** A terminal hears of the input's end by a key. */
  readonly terminal: TerminalSize | undefined;
}

export async function attachTo({ clock, status }: AttachPorts, place: AttachPlace): Promise<ExecSession> {
  const output = new ChunkQueue();
  const drained = { wake: () => {} };
  let isLetGo = false;
  let isOverrun = false;
  const socket = await Bun.connect({
    fd: connectPackets(place.directory),
    socket: {
      data: (self, packet: Uint8Array) => {
        output.push({ stream: packet[0] === standardError ? "stderr" : "stdout", data: packet.slice(1) });
        if (output.bytes <= outputBytesMax) return;
        isOverrun = true;
        self.terminate();
      },
      drain: () => drained.wake(),
      close: () => {
        output.end();
        drained.wake();
      },
      error: () => output.end(),
    },
  });
  const resize = (columns: number, rows: number): void => tellSize(place.directory, columns, rows);
  if (place.terminal !== undefined) resize(place.terminal.columns, place.terminal.rows);
  // The program of a session that was let go of has not ended.
  const exitCode = output.ended.then(async () => {
    if (isOverrun) throw new Error("its output was not read in time; the session ended, the program goes on");
    return isLetGo ? 0 : exitCodeOf(status, clock);
  });
  // Who never asks for the code must not end the agent by that.
  exitCode.catch(() => undefined);
  const write = (data: Uint8Array): Promise<void> =>
    writePackets(socket, data, () => new Promise((resolve) => (drained.wake = resolve)));
  return {
    output,
    write,
    closeInput: async () => {
      if (place.terminal !== undefined) await write(endOfTransmission);
    },
    resize,
    kill: () => {
      isLetGo = true;
      socket.terminate();
    },
    exitCode,
  };
}

async function writePackets(socket: Socket, data: Uint8Array, nextDrain: () => Promise<void>): Promise<void> {
  for (let start = 0; start < data.length; start += packetBytesMax) {
    const piece = data.slice(start, start + packetBytesMax);
    while (socket.readyState === 1) {
      const drain = nextDrain();
      // A packet is taken whole or not at all.
      if (socket.write(piece) === piece.length) break;
      await drain;
    }
  }
}

/** 0 when nobody can say it any more. */
async function exitCodeOf(status: () => ContainerStatus | undefined, clock: Clock): Promise<number> {
  const end = clock.now() + exitWaitMs;
  while (clock.now() < end) {
    const now = status();
    if (now === undefined || now.exitCode !== undefined) return now?.exitCode ?? 0;
    await new Promise<void>((resolve) => {
      clock.at(clock.now() + exitPauseMs, resolve);
    });
  }
  return 0;
}

function tellSize(directory: string, columns: number, rows: number): void {
  try {
    const fd = openSync(join(directory, "ctl"), constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      writeSync(fd, `1 ${rows} ${columns}\n`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // Without a monitor there is no terminal to tell.
    if (!isErrno(error, "ENOENT", "ENXIO", "EPIPE")) throw error;
  }
}

/** A connected, non-blocking socket of packets, which node:net has no way to make. */
function connectPackets(directory: string): number {
  const libc = dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
    __errno_location: { args: [], returns: "ptr" },
  });
  // A path longer than an address has room for is reached by an open directory.
  const directoryFd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const path = Buffer.from(`/proc/self/fd/${directoryFd}/attach\0`);
    const address = Buffer.alloc(addressBytes);
    address.writeUInt16LE(unixFamily, 0);
    path.copy(address, 2);
    const fd = libc.symbols.socket(unixFamily, seqPacket | closeOnExec | nonBlocking, 0);
    const errno = (): number => {
      const location = libc.symbols.__errno_location();
      return location === null ? 0 : read.i32(location, 0);
    };
    if (fd === -1) throw new Error(`a socket for the container's output: errno ${errno()}`);
    if (libc.symbols.connect(fd, ptr(address), 2 + path.length) === 0) return fd;
    const reason = errno();
    closeSync(fd);
    throw new Error(`the container's monitor does not take the connection: errno ${reason}`);
  } finally {
    closeSync(directoryFd);
    libc.close();
  }
}
