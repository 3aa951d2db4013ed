/** The few system calls for which neither Bun nor a file in /proc is a way. */
import { dlopen, FFIType } from "bun:ffi";

const { i32, u64, ptr } = FFIType;

export function openLibC() {
  return dlopen("libc.so.6", {
    socket: { args: [i32, i32, i32], returns: i32 },
    send: { args: [i32, ptr, u64, i32], returns: FFIType.i64_fast },
    recv: { args: [i32, ptr, u64, i32], returns: FFIType.i64_fast },
    bind: { args: [i32, ptr, i32], returns: i32 },
    close: { args: [i32], returns: i32 },
    unshare: { args: [i32], returns: i32 },
    setns: { args: [i32, i32], returns: i32 },
    mount: { args: [ptr, ptr, ptr, u64, ptr], returns: i32 },
    umount2: { args: [ptr, i32], returns: i32 },
    __errno_location: { args: [], returns: ptr },
  });
}

export type LibC = ReturnType<typeof openLibC>;
