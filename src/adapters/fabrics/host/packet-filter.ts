/** Questions to the kernel's packet filter, and connections it should forget (nfnetlink): each a few dozen microseconds, where `nft` is a process. */
import type { LibC } from "./libc.ts";
import { ipv4Bytes, ipv6Bytes } from "./addresses.ts";
import {
  NetlinkError,
  NetlinkSocket,
  attribute,
  cString,
  errno,
  findAttribute,
  netUint16,
  netlinkFamily,
  uint32,
} from "./netlink.ts";

const tables = 10;
const connections = 1;
const getTable = (tables << 8) | 1;
const getChain = (tables << 8) | 4;
const getElement = (tables << 8) | 13;
const getConnection = (connections << 8) | 1;
const deleteConnection = (connections << 8) | 2;
const tupleOfOriginal = 1;
const tupleOfReply = 2;
const familyInet = 1;
const familyUnspecified = 0;
const familyV4 = 2;
const familyV6 = 10;
const headerBytes = 16 + 4;
const protocolNumbers = { tcp: 6, udp: 17 } as const;
/** CTA_FILTER; the kernel reads it only when it is marked as nested. */
const nestedFilter = 25 | 0x8000;
const filterOfOriginal = 1;
const filterOfReply = 2;
/** Which parts of a tuple count. */
const matchSource = 1 << 0;
const matchProtocol = 1 << 3;
const matchDestinationPort = 1 << 5;
const hookForward = 2;
const policyDrop = 0;

type Protocol = "tcp" | "udp";

export class PacketFilter {
  readonly #socket: NetlinkSocket;

  constructor(libc: LibC) {
    this.#socket = new NetlinkSocket(libc, netlinkFamily.netfilter);
  }

  /** Names of all tables of the family `inet`. */
  tables(): readonly string[] {
    return this.#socket
      .list("list packet filter tables", getTable, family(familyInet))
      .map((message) => nameIn(message, 1));
  }

  /** Chains that drop by policy what the machine forwards, as `table chain`; for IP alone, not for bridges. */
  droppingChains(): readonly string[] {
    return this.#socket
      .list("list packet filter chains", getChain, family(familyUnspecified))
      .filter((message) => {
        const hook = findAttribute(message, headerBytes, 4);
        const number = hook === undefined ? undefined : findAttribute(hook, 0, 1)?.readUInt32BE(0);
        const policy = findAttribute(message, headerBytes, 5)?.readUInt32BE(0);
        const isIp = [familyInet, familyV4, familyV6].includes(message.readUInt8(16));
        return isIp && number === hookForward && policy === policyDrop;
      })
      .map((message) => `${nameIn(message, 1)} ${nameIn(message, 3)}`);
  }

  hasTable(table: string): boolean {
    const name = attribute(1, cString(table));
    return this.#socket.ask(`find table ${table}`, getTable, family(familyInet), name) !== undefined;
  }

  /** Whether a map of another fleet's table leads this port somewhere. */
  publishes(table: string, map: string, port: number, protocol: Protocol): boolean {
    const key = Buffer.alloc(8);
    key.writeUInt8(protocolNumbers[protocol], 0);
    key.writeUInt16BE(port, 4);
    const element = attribute(1, attribute(1, attribute(1, key)));
    const names = [attribute(1, cString(table)), attribute(2, cString(map))];
    const what = `find port ${port} in table ${table}`;
    return (
      this.#socket.ask(what, getElement, family(familyInet), ...names, attribute(3, element)) !== undefined
    );
  }

  /** Forgets connections to a replica: what comes next is led where the tables say by then, or refused. */
  forgetReplica(ipv4: string, ipv6: string): void {
    const filter = attribute(nestedFilter, attribute(filterOfReply, uint32(matchSource)));
    const sources = [
      { version: familyV4, source: attribute(1, ipv4Bytes(ipv4)) },
      { version: familyV6, source: attribute(3, ipv6Bytes(ipv6)) },
    ];
    for (const { version, source } of sources) {
      const tuple = attribute(tupleOfReply, attribute(1, source));
      this.#socket.change(
        "forget connections to a replica",
        deleteConnection,
        0,
        family(version),
        tuple,
        filter,
      );
    }
  }

  /**
   * Forgets what datagrams to a port of this very machine have been to the kernel, such as attempts while
   * nobody published it: a sender that never pauses would go on to be led there for ever. Connections through this
   * machine to the same port elsewhere are left alone, for their translation lives only there.
   */
  forgetDatagrams(port: number, ownAddresses: ReadonlySet<string>): void {
    const number = attribute(1, Buffer.from([protocolNumbers.udp]));
    const wanted = attribute(tupleOfOriginal, attribute(2, number, attribute(3, netUint16(port))));
    const filter = attribute(
      nestedFilter,
      attribute(filterOfOriginal, uint32(matchProtocol | matchDestinationPort)),
    );
    for (const version of [familyV4, familyV6]) {
      const what = `find datagrams to port ${port}`;
      const found = this.#socket.list(what, getConnection, family(version), wanted, filter);
      for (const message of found) {
        const tuple = findAttribute(message, headerBytes, tupleOfOriginal);
        const addresses = tuple === undefined ? undefined : findAttribute(tuple, 0, 1);
        const destination =
          addresses === undefined ? undefined : findAttribute(addresses, 0, version === familyV4 ? 2 : 4);
        if (tuple === undefined || destination === undefined) continue;
        if (ownAddresses.has(destination.toString("hex")))
          this.#delete(`forget datagrams to port ${port}`, version, tuple);
      }
    }
  }

  #delete(what: string, version: number, tuple: Buffer): void {
    try {
      this.#socket.change(what, deleteConnection, 0, family(version), attribute(tupleOfOriginal, tuple));
    } catch (error) {
      // It ended by itself meanwhile.
      if (!(error instanceof NetlinkError) || error.errno !== errno.noEntry) throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }
}

function nameIn(message: Buffer, attributeType: number): string {
  return findAttribute(message, headerBytes, attributeType)?.toString("latin1").replace(/\0$/, "") ?? "";
}

function family(number: number): Buffer {
  return Buffer.from([number, 0, 0, 0]);
}
