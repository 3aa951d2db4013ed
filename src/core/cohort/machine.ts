/**
 * One deployment on one member of its cohort. Consensus is another core: its committed entries come
 * in as inputs, and what is to be written goes out as proposals. Every member applies; only the
 * steward acts. The invariants H1.. are in docs/protocols/cohort.md.
 */
import { defined, unreachable } from "../../model/assert.ts";
import type { NodeId } from "../../model/ids.ts";
import { ok, refused } from "../../model/outcome.ts";
import type { ProblemCode } from "../../model/problem.ts";
import { deploymentName } from "../../model/spec.ts";
import type { Instant, Machine } from "../machine.ts";
import { applyCommand } from "./apply.ts";
import type { StewardChange, UserChange } from "./commands.ts";
import { fleetOf, nodeName, type Fleet } from "./fleet.ts";
import type { CohortEffect, CohortInput, VoterChange } from "./messages.ts";
import type { CohortOptions } from "./options.ts";
import type { PlacementPolicy } from "./placement-policy.ts";
import { Proposals } from "./proposals.ts";
import type { CohortState, RequestAnswer } from "./state.ts";
import { Steward } from "./steward.ts";
import { earlier, type Turn } from "./turn.ts";
import type { GroupConfig } from "./voter-desk.ts";
import { toleranceNotes } from "./voters.ts";

export interface CohortSetup {
  readonly self: NodeId;
  readonly policy: PlacementPolicy;
  /** Added to an Instant it gives the wall clock, milliseconds since 1970. */
  readonly wallOffsetMs: number;
}

/** User requests that may wait for their entry at the same time. */
export const waitingRequestsMax = 1_000;

const nobody: Fleet = fleetOf({ alive: [], suspect: [], dead: [] });

export class CohortMachine implements Machine<CohortInput, CohortEffect> {
  readonly #self: NodeId;
  readonly #policy: PlacementPolicy;
  readonly #options: CohortOptions;
  readonly #proposals = new Proposals();
  readonly #waiting = new Set<string>();
  #state: CohortState | undefined;
  #wallOffsetMs: number;
  #fleet: Fleet | undefined;
  #config: GroupConfig | undefined;
  #steward: Steward | undefined;
  #leader: NodeId | undefined;
  #retireAt: Instant | undefined;
  #isRetired = false;
  #effects: CohortEffect[] = [];

  /** `state` is from `foundingState` or a decoded snapshot; undefined until a new member is sent one. */
  constructor(setup: CohortSetup, options: CohortOptions, state: CohortState | undefined) {
    this.#self = setup.self;
    this.#state = state;
    this.#policy = setup.policy;
    this.#wallOffsetMs = setup.wallOffsetMs;
    this.#options = options;
  }

  /** Immutable: may be kept, encoded and shown at any time. */
  get state(): CohortState | undefined {
    return this.#state;
  }

  /** This member leads and all earlier entries are in its state. */
  get isActiveSteward(): boolean {
    return this.#state !== undefined && (this.#steward?.isActive(this.#state) ?? false);
  }

  deadline(): Instant | undefined {
    const actsWithTime = this.#fleet !== undefined;
    return earlier(
      actsWithTime ? this.#steward?.deadline() : undefined,
      this.#isRetired ? undefined : this.#retireAt,
    );
  }

  step(input: CohortInput, now: Instant): readonly CohortEffect[] {
    this.#effects = [];
    this.#take(input, now);
    if (this.#steward !== undefined && this.#fleet !== undefined) {
      const turn = this.#turn(now, this.#steward);
      if (input.kind === "report" && input.inquiry === undefined) this.#steward.advanceReports(turn);
      else this.#steward.advance(turn, this.#config);
    }
    this.#retire(now);
    return this.#effects;
  }

  #take(input: CohortInput, now: Instant): void {
    switch (input.kind) {
      case "role":
        return this.#takeRole(input);
      case "committed":
        return this.#takeCommitted(input, now);
      case "restored":
        return this.#takeRestored(input.state);
      case "config":
        this.#config = input;
        return this.#steward?.configChanged(input);
      case "request":
        return this.#takeRequest(input.requestId, input.change, now);
      case "members":
        return this.#takeMembers(fleetOf(input), now);
      case "peer-progress":
        return this.#steward?.progress(input.node, input.caughtUp);
      case "dropped":
        return this.#takeDropped(input.proposal, now);
      case "wall-clock":
        this.#wallOffsetMs = input.offsetMs;
        return;
      case "timeout":
        return;
      case "call-answer":
      case "award-answer":
      case "report":
      case "release-answer":
        return this.#takeFromNode(input, now);
      default:
        return unreachable(input);
    }
  }

  #takeRole(input: Extract<CohortInput, { kind: "role" }>): void {
    this.#leader = input.role === "steward" ? this.#self : input.steward;
    const isSame =
      input.role === "steward" ? this.#steward?.term === input.term : this.#steward === undefined;
    if (isSame) return;
    this.#proposals.clear();
    for (const requestId of this.#waiting) this.#refuseNoSteward(requestId);
    this.#waiting.clear();
    this.#steward = undefined;
    if (input.role === "follower") return;
    this.#steward = new Steward(
      { self: this.#self, term: input.term },
      {
        policy: this.#policy,
        proposals: this.#proposals,
        proposeChange: (change) => this.#proposeChange(change),
      },
      this.#options,
    );
  }

  #takeCommitted({ index, term, command }: Extract<CohortInput, { kind: "committed" }>, now: Instant): void {
    const before = defined(this.#state, "a state that the entry follows");
    const { state, history } = applyCommand(before, command, index);
    if (state === before) return;
    this.#state = state;
    for (const event of history) this.#effects.push({ kind: "event", event });
    const isOwn = this.#steward?.term === term && this.#proposals.take(command.proposal) !== undefined;
    if ("requestId" in command) this.#answer(command.requestId);
    if (this.#steward !== undefined)
      this.#steward.applied(this.#turn(now, this.#steward), command, {
        isOwn,
        before,
      });
  }

  #takeRestored(state: CohortState): void {
    if (this.#state !== undefined && state.index <= this.#state.index) return;
    this.#state = state;
    for (const requestId of this.#waiting) this.#answer(requestId);
  }

  #takeMembers(fleet: Fleet, now: Instant): void {
    const before = this.#fleet;
    this.#fleet = fleet;
    if (this.#steward !== undefined) this.#steward.fleetChanged(before, this.#turn(now, this.#steward));
  }

  #takeRequest(requestId: string, change: UserChange, now: Instant): void {
    if (this.#steward === undefined) return this.#refuseNoSteward(requestId);
    if (this.#state?.requests.has(requestId)) {
      this.#waiting.add(requestId);
      return this.#answer(requestId);
    }
    if (this.#waiting.has(requestId)) return;
    if (this.#waiting.size >= waitingRequestsMax)
      return this.#refuse(requestId, "too-many-requests", {
        message: `${waitingRequestsMax} requests wait for this deployment.`,
        next: "Try again in a moment.",
      });
    this.#waiting.add(requestId);
    const command = {
      ...change,
      requestId,
      atMs: now + this.#wallOffsetMs,
      actor: "user",
      proposal: this.#proposals.number(),
    } as const;
    this.#proposals.add(command);
    this.#effects.push({ kind: "propose", proposal: command.proposal, command });
  }

  #takeDropped(proposal: number, now: Instant): void {
    const command = this.#proposals.take(proposal);
    if (command !== undefined && "requestId" in command) {
      this.#waiting.delete(command.requestId);
      this.#refuseNoSteward(command.requestId);
      return;
    }
    this.#steward?.dropped(proposal, command, now);
  }

  #takeFromNode(
    input: Extract<CohortInput, { kind: "call-answer" | "award-answer" | "report" | "release-answer" }>,
    now: Instant,
  ): void {
    const steward = this.#steward;
    // A holder repeats what nobody acknowledged; only one that knows all may judge it.
    if (steward === undefined || !this.isActiveSteward) return;
    const turn = this.#turn(now, steward);
    switch (input.kind) {
      case "call-answer":
        return steward.callAnswer(input);
      case "award-answer":
        return steward.awardAnswer(turn, input);
      case "report":
        return steward.report(turn, input);
      case "release-answer":
        return steward.releaseAnswer(turn, input);
      default:
        return unreachable(input);
    }
  }

  #turn(now: Instant, steward: Steward): Turn {
    const fleet = this.#fleet ?? nobody;
    const state = defined(this.#state, "a steward's state");
    const { group, deployment, epoch } = state;
    const voters = this.#config === undefined || this.#config.joint ? state.voters : this.#config.voters;
    return {
      now,
      state,
      fleet,
      cohort: { group, deployment, epoch, voters },
      options: this.#options,
      isLost: (node) => steward.isLost(fleet, node, now),
      emit: (effect) => {
        this.#effects.push(effect);
      },
      propose: (change) => this.#propose(change, now),
      isInFlight: (kind) => this.#proposals.has(kind),
    };
  }

  #propose(change: StewardChange, now: Instant): void {
    const command = {
      ...change,
      atMs: now + this.#wallOffsetMs,
      actor: this.#self,
      proposal: this.#proposals.number(),
    };
    this.#proposals.add(command);
    this.#effects.push({ kind: "propose", proposal: command.proposal, command });
  }

  #proposeChange(change: VoterChange): number {
    const proposal = this.#proposals.number();
    this.#effects.push({ kind: "propose-conf-change", proposal, change });
    return proposal;
  }

  /** Replies to a waiting request from the state, with what only this member knows added. */
  #answer(requestId: string): void {
    const answer = this.#state?.requests.get(requestId);
    if (answer === undefined || !this.#waiting.delete(requestId)) return;
    this.#reply(requestId, answer.ok ? this.#withNotes(answer) : answer);
  }

  #withNotes(answer: Extract<RequestAnswer, { ok: true }>): RequestAnswer {
    if (this.#fleet === undefined) return answer;
    const voters = this.#config?.voters ?? this.#state?.voters ?? [];
    const notes = toleranceNotes(voters, this.#fleet);
    return ok({ ...answer.value, notes });
  }

  #refuseNoSteward(requestId: string): void {
    const name = this.#state === undefined ? "the deployment" : deploymentName(this.#state.spec);
    this.#refuse(requestId, "no-steward", {
      message:
        this.#leader === undefined || this.#leader === this.#self
          ? `The cohort of ${name} has no steward at the moment.`
          : `The steward of ${name} is ${nodeName(this.#fleet ?? nobody, this.#leader)}.`,
      next: "Ask again with the same request id.",
    });
  }

  #refuse(
    requestId: string,
    code: ProblemCode,
    words: { readonly message: string; readonly next: string },
  ): void {
    this.#reply(requestId, refused({ code, ...words }));
  }

  #reply(requestId: string, outcome: RequestAnswer): void {
    this.#effects.push({ kind: "reply", requestId, outcome });
  }

  #retire(now: Instant): void {
    if (this.#state?.status !== "deleted" || this.#isRetired) return;
    this.#retireAt ??= now + this.#options.lingerMs;
    if (now < this.#retireAt) return;
    this.#isRetired = true;
    this.#effects.push({ kind: "retire" });
  }
}
