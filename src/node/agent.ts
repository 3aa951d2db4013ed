/**
 * One node, whole: its fleet, its directory, its promise book and its cohorts, joined and offered to
 * the edges. Everything outside comes in through ports; the simulator runs this very class.
 */
import type { Message } from "../core/consensus/message.ts";
import { keeperDefaults } from "../core/keeper/options.ts";
import type { MembershipEvent } from "../core/membership/protocol.ts";
import { membershipDefaults } from "../core/membership/options.ts";
import { createSpreadPolicy } from "../core/placement/policy.ts";
import { freeOf, type BookSummary } from "../core/placement/book.ts";
import { createRng } from "../core/rng.ts";
import type { Charter } from "../model/charter.ts";
import type { HistoryEvent } from "../model/event.ts";
import type { GroupId, NodeId } from "../model/ids.ts";
import type { MetricFamily } from "../model/metric.ts";
import { refused, type Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import type { DeploymentSpec } from "../model/spec.ts";
import type { CohortView, DeploymentView, NodeView, PromiseView, StatusView } from "../model/views.ts";
import type { Clock } from "../ports/clock.ts";
import type { MachineUsage } from "../model/usage.ts";
import type { ContainerRuntime, ExecRequest, ExecSession } from "../ports/container-runtime.ts";
import type { Entropy } from "../ports/entropy.ts";
import type { Fabric } from "../ports/fabric.ts";
import type { ImageExchange, ImageStore } from "../ports/image-store.ts";
import type { Prober } from "../ports/prober.ts";
import type { VolumeStore } from "../ports/volume-store.ts";
import type { Logger } from "../ports/logger.ts";
import type { Store } from "../ports/store.ts";
import type { PeerAddress, Transport } from "../ports/transport.ts";
import * as v from "valibot";
import { Beats, beatsChannel } from "./beats.ts";
import { Book } from "./book.ts";
import { Directory, directoryChannel } from "./directory.ts";
import { runErrand } from "./errands.ts";
import { Fleet, pushPullMethod } from "./fleet.ts";
import type { Fleet as FleetSnapshot, Group } from "./group.ts";
import { Groups } from "./groups.ts";
import { ConsensusInbox, installHandlers } from "./handlers.ts";
import { fleetSnapshot, gossipedMeta } from "./fleet-picture.ts";
import { Leftovers } from "./leftovers.ts";
import { openHistory, type HistoryQuery } from "./history-stream.ts";
import { Containers } from "./containers.ts";
import { InstanceStreams } from "./instance-streams.ts";
import { LogStreams } from "./log-streams.ts";
import type {
  ContainerChoice,
  ContainerApi,
  DeclareOptions,
  DeploymentKey,
  LogQuery,
  NodeApi,
  ReplicaLogLine,
  WriteAnswer,
} from "./node-api.ts";
import type { AgentOptions } from "./options.ts";
import { NodeImages } from "./node-images.ts";
import { MetaGossip } from "./meta-gossip.ts";
import { agentMetrics } from "./metrics/agent-metrics.ts";
import { Meters } from "./metrics/meters.ts";
import { Peers } from "./peers.ts";
import { Reporter } from "./reporter.ts";
import { gatherPromises } from "./promise-gathering.ts";
import { notFound, Requests } from "./requests.ts";
import { readableRecords } from "./stored-records.ts";
import { Turn } from "./turn.ts";
import { nodeView, promiseView, type FleetView } from "./views.ts";

export interface AgentPorts {
  readonly transport: Transport;
  readonly store: Store;
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore & ImageExchange;
  readonly fabric: Fabric;
  readonly volumes: VolumeStore;
  readonly prober: Prober;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly logger: Logger;
  readonly invites: {
    create(ttlMs: number): Promise<{ readonly token: string; readonly expiresAtMs: number }>;
  };
  /** Resident memory of this process, for the status. */
  readonly residentBytes: () => number;
  readonly machineUsage: () => MachineUsage;
  /** What the system knows of this process. */
  readonly processMetrics: () => readonly MetricFamily[];
}

const consensusChannel = "consensus";
/** After this a node that meets nobody takes itself for the last one. */
const searchMs = 10_000;
/** Members named to one that joins: enough that some are still there when it asks. */
const seedsMax = 16;
const cachedMemberSchema = v.object({ id: v.string(), addresses: v.array(v.string()) });

export class Agent implements NodeApi {
  readonly images: NodeImages;
  readonly containers: ContainerApi;
  readonly #ports: AgentPorts;
  readonly #options: AgentOptions;
  readonly #meters: Meters;
  readonly #startedAt: number;
  readonly #turn: Turn;
  readonly #fleet: Fleet;
  readonly #peers: Peers;
  readonly #directory: Directory;
  readonly #book: Book;
  readonly #groups: Groups;
  readonly #leftovers: Leftovers;
  readonly #reporter: Reporter;
  readonly #requests: Requests;
  readonly #streams: InstanceStreams;
  readonly #logs: LogStreams;
  readonly #inbox: ConsensusInbox;
  readonly #beats: Beats;
  #isFleetDirty = false;
  readonly #metaGossip: MetaGossip;
  #isClosed = false;
  readonly #ended = Promise.withResolvers<void>();

  constructor(given: AgentPorts, options: AgentOptions) {
    this.#meters = new Meters(given);
    const ports = (this.#ports = { ...given, ...this.#meters.ports });
    this.#options = options;
    const { transport, clock, logger, entropy } = ports;
    this.#startedAt = clock.now();
    this.#turn = new Turn(ports);
    const seed = (): number => new DataView(entropy.bytes(4).slice().buffer).getUint32(0);
    this.#fleet = new Fleet(ports, {
      ...options,
      meta: gossipedMeta(options, options.capacity),
      seed: seed(),
      membership: membershipDefaults,
    });
    const locate = (id: NodeId): PeerAddress | undefined => this.#fleet.peer(id);
    this.#peers = new Peers({ transport, clock, locate }, { self: options.id });
    const peers = this.#peers;
    const view: FleetView = { fleetPrefix: options.fleetPrefix, member: (id) => this.#fleet.member(id) };
    const policy = createSpreadPolicy(createRng(seed()));
    const fleet = (): FleetSnapshot => fleetSnapshot(this.#fleet.members());
    this.#directory = new Directory(
      { ...ports, turn: this.#turn, peers, deposed: (loser) => void this.#leftovers.standDown(loser.group) },
      { self: options.id, seed: seed() },
    );
    this.#book = new Book(
      {
        ...ports,
        turn: this.#turn,
        report: (report, cohort) => this.#reporter.submit(this.#meters.restarts.seen(report), cohort),
        changed: () => this.#metaGossip.changed(),
      },
      { ...options, node: options.id, keeper: keeperDefaults },
    );
    this.#metaGossip = new MetaGossip(
      { clock, free: () => freeOf(this.#book.summary()), tell: (meta) => this.#fleet.updateMeta(meta) },
      options,
    );
    this.images = new NodeImages({ ...ports, book: this.#book });
    const charterOf = async (deployment: string): Promise<Charter | undefined> =>
      this.#directory.charterOf(deployment);
    this.#reporter = new Reporter({
      peers,
      logger,
      charterOf,
      cohortChanged: (cohort) => this.#book.cohortChanged(cohort),
      releaseGroup: (group, reason) => this.#book.releaseGroup(group, reason),
    });
    this.#groups = new Groups(
      {
        ...ports,
        turn: this.#turn,
        policy,
        fleet,
        send: (group, messages) => this.#sendConsensus(group, messages),
        errand: (group, errand) => void runErrand({ peers, logger }, group, errand),
        publishCharter: (charter) => {
          this.#directory.publish(charter).catch((error: unknown) => {
            logger.warn("charter not published", { group: charter.group, error: String(error) });
          });
        },
        retire: (group) => void this.#groups.drop(group.id),
      },
      { self: options.id, log: options.log },
    );
    this.#leftovers = new Leftovers(
      { peers, clock, logger, groups: this.#groups, directory: this.#directory, book: this.#book },
      { self: options.id },
    );
    const directory = this.#directory;
    const isSearching = (): boolean => this.#fleet.isSearching && clock.now() - this.#startedAt < searchMs;
    const groups = this.#groups;
    this.#requests = new Requests({ ...ports, peers, directory, policy, fleet, groups, view, isSearching });
    this.#streams = new InstanceStreams({ ...ports, peers, book: this.#book });
    this.#logs = new LogStreams({ ...ports, peers, book: this.#book });
    const inspect = (key: DeploymentKey) => this.#requests.inspect(key);
    this.containers = new Containers(
      { ...ports, peers, inspect, book: this.#book, members: () => this.#fleet.members() },
      options,
    );
    const handlers = {
      peers,
      turn: this.#turn,
      book: this.#book,
      groups: this.#groups,
      reporter: this.#reporter,
      view,
      logger,
      ownPromises: () => this.#ownPromises(),
      charterOf,
    };
    installHandlers(handlers);
    peers.handleRaw(pushPullMethod, async (_from, payload) => this.#fleet.receivePushPull(payload));
    const inbox = (this.#inbox = new ConsensusInbox({ ...handlers, now: () => clock.now() }));
    this.#beats = new Beats({
      peers,
      clock,
      deliver: (from, group, message) => inbox.deliver(from, group, [message]),
    });
  }

  /** Reads what is on disk, takes up what runs, and joins the fleet. */
  async start(): Promise<void> {
    this.#fleet.listen((event) => this.#fleetEvent(event));
    await this.#directory.start();
    this.images.start();
    await this.#book.start();
    await this.#groups.load();
    await this.#ports.transport.start({
      datagram: (from, payload) => this.#fleet.receiveDatagram(from, payload),
      post: (from, channel, payload) => this.#receivePost(from, channel, payload),
      call: async (from, method, payload) => this.#peers.receive(from, method, payload),
      open: (from, method, header, stream) => this.#peers.receiveStream(from, method, header, stream),
    });
    this.#fleet.start();
    const cached = await readableRecords(this.#ports, "members", cachedMemberSchema);
    this.#fleet.join([...this.#options.seeds, ...cached]);
    this.#fleetChanged();
    this.#leftovers.start();
  }

  /** The agent ends; containers go on. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#metaGossip.close();
    this.#leftovers.close();
    this.#groups.close();
    this.#beats.close();
    this.#directory.close();
    this.#book.close();
    this.#fleet.close();
    await this.#turn.close();
    await this.#ports.transport.close();
    await this.#ports.runtime.close();
    await this.#ports.fabric.close();
    await this.#ports.store.close();
    this.#ended.resolve();
  }

  /** Resolves when the agent has ended, by `close` or `down`. */
  get closed(): Promise<void> {
    return this.#ended.promise;
  }

  /** Other members that are alive, for those who join. */
  livePeers(): readonly PeerAddress[] {
    return this.#fleet
      .members()
      .filter(({ id, status }) => status === "alive" && id !== this.#options.id)
      .slice(0, seedsMax)
      .map(({ id, addresses }) => ({ id, addresses }));
  }

  /** The cohorts that this node is a member of. */
  cohorts(): readonly Group[] {
    return this.#groups.all();
  }

  /** What this node has promised and what it has. */
  bookSummary(): BookSummary {
    return this.#book.summary();
  }

  status(): StatusView {
    const counted = { alive: 0, suspect: 0, dead: 0, left: 0 };
    for (const member of this.#fleet.members()) counted[member.status] += 1;
    const { id, name, version, commit, pid, fleetPrefix } = this.#options;
    return {
      id,
      name,
      version,
      commit,
      pid,
      uptimeMs: Math.round(this.#ports.clock.now() - this.#startedAt),
      fleet: fleetPrefix,
      members: { alive: counted.alive, suspect: counted.suspect, dead: counted.dead },
      promises: this.#book.held().length,
      groups: this.#groups.all().length,
      rssBytes: this.#ports.residentBytes(),
    };
  }

  metrics(): readonly MetricFamily[] {
    return [
      ...agentMetrics({ status: this.status(), fleet: this.#fleet, book: this.#book, groups: this.#groups }),
      ...this.#meters.families(),
      ...this.#ports.processMetrics(),
    ];
  }

  nodes(): readonly NodeView[] {
    const { id, labels } = this.#options;
    return this.#fleet
      .members()
      .map((member) => nodeView(member, id, labels))
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1));
  }

  async invite({
    ttlMs,
  }: {
    readonly ttlMs: number;
  }): Promise<{ token: string; expiresAtMs: number; join: readonly string[] }> {
    return { ...(await this.#ports.invites.create(ttlMs)), join: this.#options.addresses };
  }

  async declare(spec: DeploymentSpec, options: DeclareOptions): Promise<Outcome<WriteAnswer, Problem>> {
    return this.#requests.declare(spec, options);
  }

  async scale(
    key: DeploymentKey,
    replicas: number,
    { requestId }: { readonly requestId: string },
  ): Promise<Outcome<WriteAnswer, Problem>> {
    return this.#requests.scale(key, replicas, requestId);
  }

  async delete(
    key: DeploymentKey,
    { requestId }: { readonly requestId: string },
  ): Promise<Outcome<WriteAnswer, Problem>> {
    return this.#requests.delete(key, requestId);
  }

  async deployments(namespace: string | undefined): Promise<readonly DeploymentView[]> {
    const charters = await this.#requests.charters(namespace);
    const views = await Promise.all(charters.map((charter) => this.#requests.deploymentOf(charter)));
    return views.filter(({ status }) => status !== "deleted");
  }

  async inspect(key: DeploymentKey): Promise<Outcome<DeploymentView, Problem>> {
    return this.#requests.inspect(key);
  }

  async cohort(key: DeploymentKey): Promise<Outcome<CohortView, Problem>> {
    return this.#requests.cohort(key);
  }

  async promises(
    scope: "fleet" | "node",
  ): Promise<{ promises: readonly PromiseView[]; unreachable: readonly string[] }> {
    if (scope === "node") return { promises: this.#ownPromises(), unreachable: [] };
    return gatherPromises(this.#peers, this.#fleet.members());
  }

  async events(
    key: DeploymentKey,
    options: HistoryQuery,
  ): Promise<Outcome<AsyncIterable<HistoryEvent>, Problem>> {
    const charter = await this.#requests.charterOf(key);
    if (charter === undefined) return refused(notFound(key));
    return openHistory(
      { groups: this.#groups, peers: this.#peers, logger: this.#ports.logger },
      charter,
      options,
    );
  }

  async logs(key: DeploymentKey, query: LogQuery): Promise<Outcome<AsyncIterable<ReplicaLogLine>, Problem>> {
    const view = await this.inspect(key);
    return view.ok ? this.#logs.logs(view.value, query, () => this.inspect(key)) : view;
  }

  async exec(
    key: DeploymentKey,
    choice: ContainerChoice,
    request: ExecRequest,
  ): Promise<Outcome<ExecSession, Problem>> {
    const view = await this.inspect(key);
    return view.ok ? this.#streams.exec(view.value, choice, request) : view;
  }

  async down({ keep }: { readonly keep: boolean }): Promise<void> {
    if (!keep) {
      this.#ports.logger.info("leaving the fleet");
      await Promise.all([this.#fleet.leave(), this.#book.stopAll("the node leaves the fleet")]);
    }
    await this.close();
  }

  /** Heartbeats of all groups go together; everything else by group. */
  #sendConsensus(group: GroupId, messages: readonly Message[]): void {
    for (const [to, own] of Map.groupBy(messages, (message) => message.to)) {
      const rest = own.filter((message) => !this.#beats.take(group, message));
      if (rest.length > 0) this.#peers.post(to, consensusChannel, { group, messages: rest });
    }
  }

  #receivePost(from: NodeId, channel: string, payload: Uint8Array): void {
    if (this.#turn.isFull) return;
    try {
      if (channel === consensusChannel) this.#inbox.receive(from, payload);
      else if (channel === beatsChannel) this.#beats.receive(from, payload);
      else if (channel === directoryChannel) this.#directory.receive(from, payload);
    } catch (error) {
      this.#ports.logger.warn("message rejected", { from, channel, error: String(error) });
    }
  }

  #fleetEvent(event: MembershipEvent): void {
    if (event.kind === "message-rejected" || event.kind === "self-paused" || event.kind === "self-left")
      return;
    if (this.#isFleetDirty) return;
    this.#isFleetDirty = true;
    queueMicrotask(() => {
      this.#isFleetDirty = false;
      if (!this.#isClosed) this.#fleetChanged();
    });
  }

  #fleetChanged(): void {
    const snapshot = fleetSnapshot(this.#fleet.members());
    this.#directory.liveChanged([...snapshot.alive, ...snapshot.suspect].map(({ id }) => id));
    for (const group of this.#groups.all()) group.fleetChanged(snapshot);
  }

  #ownPromises(): readonly PromiseView[] {
    return this.#book.entries().map((entry) => promiseView(entry, this.#options));
  }
}
