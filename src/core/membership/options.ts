/**
 * Settings of the membership protocol. All times are milliseconds. The defaults suit a LAN: on three
 * nodes a machine that loses power is declared dead by the others after about 0.9 s at the median.
 */
export interface MembershipOptions {
  /** One member is probed per period. Shorter finds failures sooner and costs proportionally more datagrams. */
  readonly probeIntervalMs: number;
  /** How long a direct ping may take before other members and a stream are tried. Well under probeIntervalMs. */
  readonly pingTimeoutMs: number;
  /** Members asked to ping on our behalf when the direct ping stays unanswered. */
  readonly indirectProbes: number;
  /** Shortest suspicion = suspicionMult * max(1, log10(n)) * probeIntervalMs. */
  readonly suspicionMult: number;
  /** An unconfirmed suspicion lasts this many times the shortest one, where the fleet can confirm at all. */
  readonly suspicionMaxFactor: number;
  /** Independent accusers, besides the first, that shrink a suspicion to its shortest. */
  readonly suspicionConfirmations: number;
  /** How long a member whose machine answers while its agent does not stays suspect before it is dead. */
  readonly refusedGraceMs: number;
  /** Timeouts scale by up to this factor as local health worsens (score 0 .. max - 1). */
  readonly awarenessMax: number;
  /** A step later than its deadline by more than this means that this very node was paused. */
  readonly lateWakeMs: number;
  /** While there is news, it is sent this often besides riding on probes. */
  readonly gossipIntervalMs: number;
  /** Members that get the news each time. */
  readonly gossipFanout: number;
  /** Each piece of news is sent retransmitMult * ceil(log10(n + 1)) times. */
  readonly retransmitMult: number;
  /** Approximate ceiling for one datagram, so that it fits a common MTU after encryption. */
  readonly datagramBytes: number;
  /** Full state exchange with a random member; stretched as the fleet grows past 32 members. */
  readonly pushPullIntervalMs: number;
  /** In fleets of up to 32, each member exchanges full state about this long after someone came or went. */
  readonly settleMs: number;
  /** A random dead member is pinged this often, so that a healed partition comes together again. */
  readonly reconnectIntervalMs: number;
  /** Addresses given to join are tried again this often until one answers. */
  readonly joinRetryMs: number;
  /** Dead and left members are remembered, and dead ones tried again, this long. */
  readonly forgetAfterMs: number;
  /** A leaving node stops gossiping its goodbye after this at the latest. */
  readonly leaveTimeoutMs: number;
}

/** LAN defaults; see MembershipOptions for what each trades. */
export const membershipDefaults: MembershipOptions = {
  probeIntervalMs: 200,
  pingTimeoutMs: 80,
  indirectProbes: 3,
  suspicionMult: 2.75,
  suspicionMaxFactor: 6,
  suspicionConfirmations: 3,
  refusedGraceMs: 10_000,
  awarenessMax: 8,
  lateWakeMs: 100,
  gossipIntervalMs: 100,
  gossipFanout: 3,
  retransmitMult: 6,
  datagramBytes: 1200,
  pushPullIntervalMs: 15_000,
  settleMs: 600,
  reconnectIntervalMs: 1000,
  joinRetryMs: 1000,
  forgetAfterMs: 3_600_000,
  leaveTimeoutMs: 1000,
};
