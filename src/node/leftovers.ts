/**
 * What a node still keeps for cohorts that went on without it while it was away, or that are no more: members of
 * deposed, deleted or never finished cohorts, and promises to them. Nobody tells a node of these, so it looks.
 *
 * L1  A member is dropped only when its cohort is dead for good, when the steward itself says that the node is not a
 *     member, or when it holds nothing. A voter that forgot its vote or its log would break its cohort.
 * L2  A promise is let go only when two looks in a row find its cohort deposed or deleted: guardians that were cut
 *     from each other may for a moment show the lineage that is about to lose.
 */
import { compareCharters, type Charter } from "../model/charter.ts";
import type { GroupId, NodeId } from "../model/ids.ts";
import type { HeldPromise } from "../core/keeper/messages.ts";
import type { CohortView } from "../model/views.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import { methods } from "../wire/calls.ts";
import type { Book } from "./book.ts";
import type { Directory } from "./directory.ts";
import type { Group } from "./group.ts";
import type { Groups } from "./groups.ts";
import type { Peers } from "./peers.ts";

export interface LeftoversPorts {
  readonly peers: Peers;
  readonly groups: Groups;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly book: Pick<Book, "held" | "releaseGroup">;
}

/** Charters asked of other nodes in one look; what a guardian holds itself costs nothing. */
const lookUpsMax = 16;
const callTimeoutMs = 1_000;
const lookIntervalMs = 10_000;

export class Leftovers {
  readonly #ports: LeftoversPorts;
  readonly #self: NodeId;
  /** Groups that the last look found gone. */
  #suspects = new Set<GroupId>();
  #turn = 0;
  #timer: (() => void) | undefined;
  #isClosed = false;

  constructor(ports: LeftoversPorts, options: { readonly self: NodeId }) {
    this.#ports = ports;
    this.#self = options.self;
  }

  /** Looks now and then from here on. */
  start(): void {
    const { clock } = this.#ports;
    this.#timer = clock.at(clock.now() + lookIntervalMs, () => {
      void this.look().finally(() => {
        if (!this.#isClosed) this.start();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.();
  }

  /** One look at a part of what is here; never rejects. */
  async look(): Promise<void> {
    this.#turn += 1;
    try {
      await this.#lookAtGroups();
      await this.#lookAtPromises();
    } catch (error) {
      this.#ports.logger.warn("leftovers were not looked for", { error: String(error) });
    }
  }

  /** Another lineage won for good: this node's member and its promises to it end. */
  async standDown(group: GroupId): Promise<void> {
    this.#ports.book.releaseGroup(group, "another cohort of this deployment is the living one");
    if (this.#ports.groups.get(group) === undefined) return;
    this.#ports.logger.warn("cohort deposed", { group });
    await this.#ports.groups.drop(group);
  }

  async #lookAtGroups(): Promise<void> {
    const groups = this.#ports.groups.all();
    // Those without a steward may be leftovers; of the others only the steward has to look, and no hurry.
    const headless = groups.filter(({ isHeadless }) => isHeadless);
    const led = this.#some(groups.filter(({ isSteward }) => isSteward));
    for (const group of [...headless, ...led]) {
      const charter = await this.#charterOf(group.charter.deployment);
      if (this.#ports.groups.get(group.id) === group) await this.#judge(group, charter);
    }
  }

  async #judge(group: Group, charter: Charter | undefined): Promise<void> {
    const { groups, directory } = this.#ports;
    const own = group.charter;
    if (charter === undefined || compareCharters(charter, own) < 0) {
      if (group.isSteward) await directory.publish(own);
      else if (group.isUntouched && (await this.#isUnfounded(group))) await groups.drop(group.id);
    } else if (charter.group !== group.id) await this.standDown(group.id);
    else if (!group.isHeadless) return;
    else if (charter.deleted || (await this.#isCountedOut(group, charter))) await groups.drop(group.id);
  }

  /** So many voters never had it that its founding cannot have been acknowledged. */
  async #isUnfounded(group: Group): Promise<boolean> {
    const { voters } = group.charter;
    let strangers = 0;
    for (const node of voters) {
      if (node === this.#self) continue;
      if ((await this.#ask(node, group.id)) === "unknown-group") strangers += 1;
    }
    return group.isUntouched && strangers >= voters.length / 2;
  }

  /** Its steward does not count this node among the members, and has sent nothing since it was asked. */
  async #isCountedOut(group: Group, charter: Charter): Promise<boolean> {
    if (charter.voters.includes(this.#self)) return false;
    for (const node of charter.voters) {
      const answer = await this.#ask(node, group.id);
      if (answer === undefined || answer === "unknown-group") continue;
      const own = answer.members.find((member) => member.node === this.#self);
      const isMember = own?.roles.some((role) => role === "voter" || role === "learner") ?? false;
      return !isMember && group.isHeadless;
    }
    return false;
  }

  async #ask(node: NodeId, group: GroupId): Promise<CohortView | "unknown-group" | undefined> {
    try {
      const answer = await this.#ports.peers.call(
        node,
        methods.view,
        { group, what: "cohort" },
        callTimeoutMs,
      );
      if (answer.kind === "unknown-group") return "unknown-group";
      if (answer.kind !== "view") return undefined;
      const view: CohortView = JSON.parse(answer.json);
      return view;
    } catch (error) {
      this.#ports.logger.debug("no word of a group", { node, group, error: String(error) });
      return undefined;
    }
  }

  async #lookAtPromises(): Promise<void> {
    const { groups, directory, book } = this.#ports;
    const byGroup = new Map<GroupId, HeldPromise>();
    for (const promise of book.held())
      if (groups.get(promise.group) === undefined) byGroup.set(promise.group, promise);
    const suspects = new Set<GroupId>();
    const known = [...byGroup.values()].filter(({ deployment }) => directory.held(deployment) !== undefined);
    const others = [...byGroup.values()].filter(({ deployment }) => directory.held(deployment) === undefined);
    const now = [...known, ...this.#some(others)];
    for (const group of this.#suspects)
      if (byGroup.has(group) && now.every((promise) => promise.group !== group)) suspects.add(group);
    for (const { group, deployment, epoch } of now) {
      const charter = await this.#charterOf(deployment);
      const isGone =
        charter !== undefined && charter.epoch >= epoch && (charter.deleted || charter.group !== group);
      if (!isGone) continue;
      suspects.add(group);
      if (!this.#suspects.has(group)) continue;
      book.releaseGroup(group, charter.deleted ? "the deployment is deleted" : "its cohort was founded anew");
    }
    this.#suspects = suspects;
  }

  async #charterOf(deployment: string): Promise<Charter | undefined> {
    const { directory } = this.#ports;
    return directory.held(deployment) ?? (await directory.charterOf(deployment));
  }

  /** Another part of a long list at each look. */
  #some<T>(items: readonly T[]): readonly T[] {
    const parts = Math.max(1, Math.ceil(items.length / lookUpsMax));
    const from = (this.#turn % parts) * lookUpsMax;
    return items.slice(from, from + lookUpsMax);
  }
}
