/** The UDP sockets of a node: bound addresses, the right socket for a destination, and deafness to ICMP errors. */
import { isIP } from "node:net";
import type { Address } from "../../ports/transport.ts";
import { formatAddress, isIpv6, parseAddress } from "./address.ts";

type UdpSocket = Bun.udp.Socket<"uint8array">;

export interface DatagramSocketsPorts {
  received(from: Address, bytes: Uint8Array): void;
}

export class DatagramSockets {
  readonly #ports: DatagramSocketsPorts;
  readonly #sockets: { readonly host: string; readonly socket: UdpSocket }[] = [];

  constructor(ports: DatagramSocketsPorts) {
    this.#ports = ports;
  }

  /** Throws when the address is taken. */
  async bind(host: string, port: number): Promise<void> {
    const socket = await Bun.udpSocket({
      hostname: host,
      port,
      binaryType: "uint8array",
      socket: {
        data: (_, bytes, fromPort, fromHost) =>
          this.#ports.received(formatAddress(fromHost, fromPort), bytes),
        // Errors here are ICMP messages about some earlier datagram; the loss itself is the sender's business.
        error: () => undefined,
      },
    });
    await ignoreIcmpErrors(socket);
    this.#sockets.push({ host, socket });
  }

  /** Best effort: what cannot be sent is lost like any datagram. Hosts must be numeric. */
  send(to: Address, bytes: Uint8Array): void {
    const target = parseAddress(to);
    if (target === undefined || isIP(target.host) === 0) return;
    const socket = this.#socketFor(target.host);
    if (socket === undefined) return;
    try {
      socket.send(bytes, target.port, target.host);
    } catch {
      try {
        // An error left behind by another peer's ICMP message is reported once and is gone at the second try.
        socket.send(bytes, target.port, target.host);
      } catch {
        return;
      }
    }
  }

  close(): void {
    for (const { socket } of this.#sockets.splice(0)) socket.close();
  }

  /** Of the destination's family, and bound to loopback only for loopback if there is a choice. */
  #socketFor(host: string): UdpSocket | undefined {
    const isSameFamily = this.#sockets.filter((bound) => isIpv6(bound.host) === isIpv6(host));
    const candidates =
      isSameFamily.length > 0 ? isSameFamily : this.#sockets.filter((bound) => bound.host === "::");
    return (candidates.find((bound) => isLoopback(bound.host) === isLoopback(host)) ?? candidates[0])?.socket;
  }
}

function isLoopback(host: string): boolean {
  return host === "::1" || host.startsWith("127.");
}

/**
 * Unconnected UDP sockets here carry IP_RECVERR, with which one dead peer's ICMP message makes the next send to a healthy peer
 * fail. Switched off by setsockopt; where that cannot be done, `send` tries twice.
 */
async function ignoreIcmpErrors(socket: object): Promise<void> {
  const fd = "fd" in socket && typeof socket.fd === "number" ? socket.fd : undefined;
  if (fd === undefined) return;
  const { dlopen, FFIType, ptr } = await import("bun:ffi");
  for (const library of ["libc.so.6", "libc.so"]) {
    try {
      const { symbols, close } = dlopen(library, {
        setsockopt: {
          args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32],
          returns: FFIType.i32,
        },
      });
      const off = new Int32Array([0]);
      // IPPROTO_IP, IP_RECVERR and IPPROTO_IPV6, IPV6_RECVERR; one of the two fails when the family differs.
      symbols.setsockopt(fd, 0, 11, ptr(off), 4);
      symbols.setsockopt(fd, 41, 25, ptr(off), 4);
      close();
      return;
    } catch {
      // Another libc names its library otherwise.
    }
  }
}
