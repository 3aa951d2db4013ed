/**
 * Brings this node's reports to the stewards of the cohorts it has promised to. Best effort: the
 * keeper repeats what is not acknowledged. One call per cohort at a time; what comes meanwhile is
 * joined, the newest word on a promise replacing an older one.
 */
import type { Charter } from "../model/charter.ts";
import type { GroupId, NodeId, PromiseId } from "../model/ids.ts";
import type { CohortRef, InstanceReport } from "../model/promise.ts";
import type { Logger } from "../ports/logger.ts";
import { methods } from "../wire/calls.ts";
import type { Peers } from "./peers.ts";

export interface ReporterPorts {
  readonly peers: Peers;
  readonly logger: Logger;
  /** The charter that the guardians have for a deployment. */
  readonly charterOf: (deployment: string) => Promise<Charter | undefined>;
  /** The cohort has other voters, or another lineage. */
  readonly cohortChanged: (cohort: CohortRef) => void;
  /** The cohort is no more, or not this node's: nothing promised to it is owed. */
  readonly releaseGroup: (group: GroupId, reason: string) => void;
}

const callTimeoutMs = 1_000;

interface Outgoing {
  cohort: CohortRef;
  readonly reports: Map<PromiseId, InstanceReport>;
  isSending: boolean;
}

export class Reporter {
  readonly #ports: ReporterPorts;
  readonly #outgoing = new Map<GroupId, Outgoing>();
  readonly #stewards = new Map<GroupId, NodeId>();

  constructor(ports: ReporterPorts) {
    this.#ports = ports;
  }

  submit(report: InstanceReport, cohort: CohortRef): void {
    let outgoing = this.#outgoing.get(cohort.group);
    if (outgoing === undefined) {
      outgoing = { cohort, reports: new Map(), isSending: false };
      this.#outgoing.set(cohort.group, outgoing);
    }
    outgoing.cohort = cohort;
    outgoing.reports.set(report.promise, report);
    if (outgoing.isSending) return;
    outgoing.isSending = true;
    const sending = outgoing;
    queueMicrotask(() => void this.#send(sending));
  }

  /** Learned from an award, a release or an acknowledgement: who leads the cohort. */
  learnSteward(group: GroupId, steward: NodeId): void {
    this.#stewards.set(group, steward);
  }

  async #send(outgoing: Outgoing): Promise<void> {
    while (outgoing.reports.size > 0) {
      const reports = [...outgoing.reports.values()];
      outgoing.reports.clear();
      if (!(await this.#deliver(outgoing.cohort, reports))) break;
    }
    outgoing.isSending = false;
    if (outgoing.reports.size === 0) this.#outgoing.delete(outgoing.cohort.group);
  }

  /** False when nobody took them; the keeper's next repetition starts over. */
  async #deliver(cohort: CohortRef, reports: readonly InstanceReport[]): Promise<boolean> {
    const { group, voters } = cohort;
    const asked = new Set<NodeId>();
    const hint = this.#stewards.get(group);
    const queue = [...(hint === undefined ? [] : [hint]), ...voters];
    let strangers = 0;
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (asked.has(next)) continue;
      asked.add(next);
      try {
        const answer = await this.#ports.peers.call(
          next,
          methods.report,
          { group, reports: [...reports] },
          callTimeoutMs,
        );
        if (answer.kind === "taken") {
          this.#stewards.set(group, next);
          return true;
        }
        if (answer.kind === "unknown-group") strangers += 1;
        else if (answer.steward !== undefined) queue.unshift(answer.steward);
      } catch (error) {
        this.#ports.logger.debug("report not delivered", { to: next, error: String(error) });
      }
    }
    this.#stewards.delete(group);
    if (strangers > 0)
      await this.#lookUp(cohort).catch((error: unknown) =>
        this.#ports.logger.debug("charter not looked up", { group, error: String(error) }),
      );
    return false;
  }

  /** A voter does not know the cohort: perhaps it moved on, or is no more. */
  async #lookUp(cohort: CohortRef): Promise<void> {
    const charter = await this.#ports.charterOf(cohort.deployment);
    if (charter === undefined) return;
    if (charter.group === cohort.group && !charter.deleted) {
      if (charter.voters.join() === cohort.voters.join()) return;
      this.#ports.cohortChanged({ ...cohort, voters: charter.voters });
    } else if (charter.deleted && charter.epoch >= cohort.epoch) {
      this.#ports.releaseGroup(cohort.group, "the deployment is deleted");
    } else if (charter.epoch >= cohort.epoch) {
      // At equal epochs two sponsors founded at once: the guardians keep one, the other one's promises are surplus.
      this.#ports.releaseGroup(cohort.group, `the cohort was founded again at epoch ${charter.epoch}`);
    }
  }
}
