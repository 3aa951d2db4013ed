/** Turns what a cohort member knows into what people are shown. Pure functions. */
import { isRunning, type CohortState, type PromiseRecord } from "../core/cohort/state.ts";
import type { BookView } from "../core/keeper/messages.ts";
import { replicaAddress } from "../model/address.ts";
import { shortId, type NodeId } from "../model/ids.ts";
import type { MemberRecord } from "../model/member.ts";
import type {
  CohortView,
  DeploymentView,
  Freshness,
  NodeView,
  PromiseView,
  ReplicaView,
} from "../model/views.ts";
import { requestOf } from "../model/template.ts";

/** What the node knows about the fleet, for names and statuses. */
export interface FleetView {
  readonly fleetPrefix: string;
  member(id: NodeId): MemberRecord | undefined;
}

export function nodeNameOf(fleet: FleetView, id: NodeId): string {
  return fleet.member(id)?.name ?? shortId(id);
}

export function nodeView(
  member: MemberRecord,
  self: NodeId,
  labels: Readonly<Record<string, string>>,
): NodeView {
  const { meta } = member;
  return {
    id: member.id,
    name: member.name,
    status: member.status,
    addresses: member.addresses,
    version: meta.version ?? "unknown",
    architecture: meta.architecture ?? "unknown",
    capacity: { cpuMillis: meta.capacityCpuMillis ?? 0, memoryBytes: meta.capacityMemoryBytes ?? 0 },
    free: { cpuMillis: meta.freeCpuMillis, memoryBytes: meta.freeMemoryBytes },
    ...(meta.zone === undefined ? {} : { zone: meta.zone }),
    labels: member.id === self ? labels : {},
    self: member.id === self,
  };
}

/** `late`: promised and not running yet, or not any more for the moment. */
export function promiseView(
  { terms, report }: BookView,
  node: { readonly id: NodeId; readonly name: string },
): PromiseView {
  const isUnready = report.phase === "running" && !report.ready;
  const isLate =
    isUnready || report.phase === "backoff" || report.phase === "starting" || report.phase === "admitted";
  return {
    promise: terms.id,
    namespace: terms.namespace,
    name: terms.name,
    replica: terms.replica,
    node: node.id,
    nodeName: node.name,
    phase: report.phase,
    assessment: isLate ? "late" : "kept",
    restarts: report.restarts,
    sinceMs: report.sinceMs,
    ...(report.message === undefined ? {} : { message: report.message }),
    resources: requestOf(terms.template),
  };
}

function replicaView(state: CohortState, promise: PromiseRecord, fleet: FleetView): ReplicaView {
  return {
    replica: promise.replica,
    promise: promise.id,
    node: promise.node,
    nodeName: nodeNameOf(fleet, promise.node),
    phase: promise.stage === "promised" ? promise.phase : promise.stage,
    ready: isRunning(promise),
    restarts: promise.restarts,
    ...(promise.exitCode === undefined ? {} : { exitCode: promise.exitCode }),
    ...(promise.message === undefined ? {} : { message: promise.message }),
    sinceMs: promise.sinceMs,
    templateHash: promise.templateHash,
    containers: promise.containers,
    address: replicaAddress(fleet.fleetPrefix, state.deployment, promise.replica),
  };
}

/** Broken promises are shown until their slot has a live one again: they say why something is missing. */
function shownPromises(state: CohortState): readonly PromiseRecord[] {
  const served = new Set<number>();
  for (const promise of state.promises.values()) if (promise.stage !== "broken") served.add(promise.replica);
  return [...state.promises.values()]
    .filter(
      (promise) =>
        promise.stage !== "broken" || (!served.has(promise.replica) && promise.replica < state.spec.replicas),
    )
    .sort((a, b) => a.replica - b.replica || (a.id < b.id ? -1 : 1));
}

export function deploymentView(
  state: CohortState,
  fleet: FleetView,
  steward: NodeId | undefined,
  freshness: Freshness,
): DeploymentView {
  const promises = [...state.promises.values()];
  return {
    id: state.deployment,
    namespace: state.spec.namespace,
    name: state.spec.name,
    spec: state.spec,
    templateHash: state.templateHash,
    status: state.status,
    running: promises.filter(isRunning).length,
    desired: state.status === "active" ? state.spec.replicas : 0,
    ...(steward === undefined ? {} : { steward }),
    epoch: state.epoch,
    replicas: shownPromises(state).map((promise) => replicaView(state, promise, fleet)),
    unplaced: state.unplaced.reasons,
    freshness,
  };
}

/** What consensus knows that the cohort's state does not. */
export interface GroupStatus {
  readonly term: number;
  readonly leader: NodeId | undefined;
  readonly commitIndex: number;
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** Empty unless this member leads. */
  readonly match: ReadonlyMap<NodeId, number>;
}

export function cohortView(
  state: CohortState,
  status: GroupStatus,
  fleet: FleetView,
  freshness: Freshness,
): CohortView {
  const holders = new Set<NodeId>();
  for (const promise of state.promises.values()) if (promise.stage !== "broken") holders.add(promise.node);
  const ids = [...new Set([...status.voters, ...status.learners, ...holders])].sort();
  const down = status.voters.filter((id) => !isUp(fleet, id));
  const quorum = Math.floor(status.voters.length / 2) + 1;
  const spare = status.voters.length - down.length - quorum;
  const tolerates = Math.max(0, spare);
  const note = spare > 0 ? undefined : noLossNote(status.voters, down, spare, fleet);
  return {
    deployment: state.deployment,
    namespace: state.spec.namespace,
    name: state.spec.name,
    group: state.group,
    epoch: state.epoch,
    term: status.term,
    ...(status.leader === undefined ? {} : { steward: status.leader }),
    members: ids.map((id) => {
      const match = status.match.get(id);
      return {
        node: id,
        name: nodeNameOf(fleet, id),
        roles: rolesOf(id, status, holders),
        status: fleet.member(id)?.status ?? "unknown",
        ...(match === undefined ? {} : { match }),
      };
    }),
    commitIndex: status.commitIndex,
    tolerates,
    ...(note === undefined ? {} : { note }),
    freshness,
  };
}

function rolesOf(
  id: NodeId,
  status: GroupStatus,
  holders: ReadonlySet<NodeId>,
): CohortView["members"][number]["roles"] {
  const roles: ("steward" | "voter" | "learner" | "holder" | "witness")[] = [];
  if (id === status.leader) roles.push("steward");
  if (status.voters.includes(id)) roles.push("voter");
  if (status.learners.includes(id)) roles.push("learner");
  if (holders.has(id)) roles.push("holder");
  else if (status.voters.includes(id)) roles.push("witness");
  return roles;
}

function isUp(fleet: FleetView, id: NodeId): boolean {
  const status = fleet.member(id)?.status;
  return status === "alive" || status === "suspect";
}

function noLossNote(
  voters: readonly NodeId[],
  down: readonly NodeId[],
  spare: number,
  fleet: FleetView,
): string {
  const namesOf = (ids: readonly NodeId[]): string => ids.map((id) => nodeNameOf(fleet, id)).join(" and ");
  if (spare < 0) return `changes wait: ${namesOf(down)} must come back; what runs goes on`;
  if (down.length > 0) return `${namesOf(down)} is down: one more loss stops changes until a voter is back`;
  return `one loss stops changes: the log is on ${namesOf(voters)}; it takes three nodes to survive the loss of one`;
}
