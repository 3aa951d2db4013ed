/** The agent's side of the gate at which a launcher waits for its start. */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import type { Clock } from "../../../ports/clock.ts";
import { isErrno } from "../oci/bundle.ts";

/** A launcher takes some 20 ms to come to its gate; on a machine with much to do it takes longer. */
const gateTimeoutMs = 10_000;
const pauseMs = 2;

/** Resolves once `hasLeft` says that the launcher has become the program or has ended; false when it does neither in time. */
export async function openGate(path: string, hasLeft: () => boolean, clock: Clock): Promise<boolean> {
  const end = clock.now() + gateTimeoutMs;
  let isOpen = false;
  while (!hasLeft()) {
    if (clock.now() >= end) return false;
    if (!isOpen) isOpen = passed(path);
    await new Promise<void>((resolve) => {
      clock.at(clock.now() + pauseMs, resolve);
    });
  }
  return true;
}

/** False when nobody waits there yet. */
function passed(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENXIO")) return false;
    throw error;
  }
  try {
    writeSync(fd, "1");
    return true;
  } finally {
    closeSync(fd);
  }
}
