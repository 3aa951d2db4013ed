/**
 * A sponsor founds a cohort: it calls for volunteers, picks the voters, has each of them make the first
 * snapshot durable, and tells the guardians. The declaration is inside that snapshot, so the answer
 * "accepted" is durable on a majority of the cohort without one log entry.
 */
import { foundingState } from "../core/cohort/founding.ts";
import { encodeState } from "../core/cohort/state-codec.ts";
import { fleetOf } from "../core/cohort/fleet.ts";
import { toleranceNotes, votersTarget } from "../core/cohort/voters.ts";
import { bootstrapState } from "../core/consensus/bootstrap.ts";
import type { PlacementPolicy } from "../core/cohort/placement-policy.ts";
import { defined } from "../model/assert.ts";
import type { Charter } from "../model/charter.ts";
import { groupIdOf, type DeploymentId, type NodeId } from "../model/ids.ts";
import { ok, refused, type Outcome } from "../model/outcome.ts";
import type { CallAnswer, Offer, PlacementRequest, Refusal } from "../model/placement.ts";
import type { Problem } from "../model/problem.ts";
import { deploymentName, type DeploymentSpec } from "../model/spec.ts";
import type { Clock } from "../ports/clock.ts";
import type { Entropy } from "../ports/entropy.ts";
import type { Logger } from "../ports/logger.ts";
import { encode } from "../wire/codec.ts";
import { methods } from "../wire/calls.ts";
import type { Directory } from "./directory.ts";
import type { Fleet } from "./group.ts";
import type { WriteAnswer } from "./node-api.ts";
import type { Peers } from "./peers.ts";
import { pause } from "./steward-route.ts";
import { needsOf } from "../model/template.ts";

export interface FoundingPorts {
  readonly peers: Peers;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly logger: Logger;
  readonly policy: PlacementPolicy;
  readonly fleet: () => Fleet;
  /** True while this node looks for its fleet: what it does not know may exist all the same. */
  readonly isSearching: () => boolean;
}

export interface FoundingRequest {
  readonly deployment: DeploymentId;
  readonly spec: DeploymentSpec;
  readonly templateHash: string;
  readonly requestId: string;
  /** One more than that of the tombstone, or 1. */
  readonly epoch: number;
}

const volunteersTimeoutMs = 400;
const foundTimeoutMs = 1_500;
/** A node that has just started meets its fleet within this, if anybody of it is up. */
const searchTimeoutMs = 1_500;
const searchPauseMs = 20;

interface Volunteers {
  readonly offers: readonly Offer[];
  readonly refusals: readonly Refusal[];
  /** Who answered at all, offers first. */
  readonly answered: readonly NodeId[];
}

export async function found(
  ports: FoundingPorts,
  request: FoundingRequest,
): Promise<Outcome<WriteAnswer, Problem>> {
  for (let waitedMs = 0; ports.isSearching() && waitedMs < searchTimeoutMs; waitedMs += searchPauseMs)
    await pause(ports.clock, searchPauseMs);
  if (ports.isSearching())
    return refused({
      code: "unreachable",
      message: `${deploymentName(request.spec)} was not founded: this node has just started and has met nobody of its fleet`,
      next: "try again in a moment, or ask another node; nothing was changed",
    });
  const fleet = ports.fleet();
  const charter = charterFor(ports, request);
  const { spec } = request;
  const call: PlacementRequest = {
    group: charter.group,
    deployment: request.deployment,
    count: Math.max(1, spec.replicas),
    ...needsOf(spec.template),
  };
  const volunteers = await callForVolunteers(ports, fleet, call);
  const placeable = ports.policy.assign(volunteers.offers, call).length;
  if (placeable === 0 && spec.replicas > 0) return refused(unplaceable(ports, spec, volunteers, call));

  const target = votersTarget(volunteers.answered.length, spec.replicas);
  const voters = volunteers.answered.slice(0, target).sort();
  if (voters.length === 0)
    return refused({ code: "unreachable", message: "no node answered, not even this one" });
  const full: Charter = { ...charter, voters };
  const lead = voters.includes(ports.peers.self)
    ? ports.peers.self
    : defined(volunteers.answered[0], "a volunteer");
  const problem = await establish(ports, full, request, lead);
  if (problem !== undefined) return refused(problem);
  const notes = [...toleranceNotes(voters, fleetOf(fleet))];
  if (placeable < spec.replicas) notes.push(...waitingNotes(ports, spec, placeable, volunteers, call));
  const { deployment, templateHash, epoch } = request;
  return ok({ deployment, templateHash, desired: spec.replicas, changed: true, epoch, index: 1, notes });
}

function charterFor(
  { entropy, peers }: FoundingPorts,
  { deployment, spec, epoch }: FoundingRequest,
): Charter {
  const lineage = [...entropy.bytes(4)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return {
    deployment,
    namespace: spec.namespace,
    name: spec.name,
    group: groupIdOf(deployment, epoch, lineage),
    epoch,
    version: 1,
    founder: peers.self,
    voters: [],
    deleted: false,
  };
}

/** Closes when all asked have answered, or when enough have and the rest takes its time. */
async function callForVolunteers(
  ports: FoundingPorts,
  fleet: Fleet,
  request: PlacementRequest,
): Promise<Volunteers> {
  const { first } = ports.policy.sample(fleet.alive, request);
  const answers = new Map<NodeId, CallAnswer>();
  const pending = first.map(async (node) => {
    try {
      answers.set(node, await ports.peers.call(node, methods.call, request, volunteersTimeoutMs));
    } catch (error) {
      ports.logger.debug("no answer to a call", { node, error: String(error) });
    }
  });
  await Promise.race([Promise.all(pending), pause(ports.clock, volunteersTimeoutMs)]);
  const offers: Offer[] = [];
  const refusals: Refusal[] = [];
  for (const answer of answers.values()) {
    if (answer.kind === "offer") offers.push(answer.offer);
    else refusals.push(answer.refusal);
  }
  // The nodes that will hold replicas come first, the freest of them at the head.
  offers.sort(
    (a, b) =>
      a.promises - b.promises || b.free.memoryBytes - a.free.memoryBytes || (a.node < b.node ? -1 : 1),
  );
  return {
    offers,
    refusals,
    answered: [...offers.map(({ node }) => node), ...refusals.map(({ node }) => node).sort()],
  };
}

/** Makes the cohort exist: undefined when it does, else why not; then nothing of it is left. */
async function establish(
  ports: FoundingPorts,
  charter: Charter,
  request: FoundingRequest,
  lead: NodeId,
): Promise<Problem | undefined> {
  const { group, deployment, epoch, founder, voters } = charter;
  const { spec, templateHash, requestId } = request;
  const atMs = ports.clock.wallMs();
  const state = foundingState({
    group,
    deployment,
    epoch,
    founder,
    spec,
    templateHash,
    voters,
    requestId,
    atMs,
  });
  const snapshot = defined(
    bootstrapState(voters, encode(encodeState(state))).snapshot,
    "a bootstrap snapshot",
  );
  const results = await Promise.allSettled(
    voters.map((node) => ports.peers.call(node, methods.found, { charter, snapshot }, foundTimeoutMs)),
  );
  const durable = results.filter(({ status }) => status === "fulfilled").length;
  if (durable <= voters.length / 2) {
    abandon(ports, charter);
    return {
      code: "no-quorum",
      message: `${deploymentName(spec)} was not founded: ${durable} of ${voters.length} voters made it durable${reasonOf(results)}`,
      next: "try again; muster nodes shows who is up",
    };
  }
  // Whoever came first is there by now: without this look the lower founder would win over one that was acknowledged.
  const first = await ports.directory.charterOf(deployment);
  const isFirst = first === undefined || first.epoch < epoch;
  const winner = isFirst ? await ports.directory.publish(charter) : first;
  if (winner.group !== group) {
    abandon(ports, charter);
    return {
      code: "conflict",
      message: `${deploymentName(spec)} was founded by another node at the same moment`,
      next: "run the command again: it will reach that cohort",
    };
  }
  ports.peers.call(lead, methods.lead, { group }, foundTimeoutMs).catch((error: unknown) => {
    // Without a word from here the voters elect a steward by themselves, a moment later.
    ports.logger.debug("the first steward was not reached", { node: lead, error: String(error) });
  });
  return undefined;
}

/** The first voter's refusal, in its own words. */
function reasonOf(results: readonly PromiseSettledResult<unknown>[]): string {
  const failed = results.find((result) => result.status === "rejected");
  if (failed === undefined) return "";
  return ` (${failed.reason instanceof Error ? failed.reason.message : String(failed.reason)})`;
}

function abandon({ peers, logger }: FoundingPorts, { group, voters }: Charter): void {
  for (const node of voters) {
    peers.call(node, methods.abandon, { group }, foundTimeoutMs).catch((error: unknown) => {
      logger.debug("abandoned group not forgotten yet", { node, error: String(error) });
    });
  }
}

function unplaceable(
  { policy }: FoundingPorts,
  spec: DeploymentSpec,
  volunteers: Volunteers,
  request: PlacementRequest,
): Problem {
  const { lines } = policy.explain(volunteers.refusals, [], request);
  return {
    code: "unplaceable",
    message: `no node can run ${deploymentName(spec)}: ${lines.join("; ")}`,
    next: "free resources, ask for less, or add a node; nothing was changed",
  };
}

function waitingNotes(
  { policy }: FoundingPorts,
  spec: DeploymentSpec,
  placeable: number,
  { refusals, offers }: Volunteers,
  request: PlacementRequest,
): readonly string[] {
  const { lines } = policy.explain(refusals, offers, request);
  return [`${spec.replicas - placeable} of ${spec.replicas} replicas wait for room: ${lines.join("; ")}`];
}
