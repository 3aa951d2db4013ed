/**
 * Users' reads and writes, from whichever node got them to where they belong: to the steward of the
 * deployment's cohort, or, when there is no cohort yet, to founding one.
 */
import type { UserChange } from "../core/cohort/commands.ts";
import { shortId, type DeploymentId, type NodeId } from "../model/ids.ts";
import type { Charter } from "../model/charter.ts";
import { refused, ok, type Outcome } from "../model/outcome.ts";
import type { Problem } from "../model/problem.ts";
import { replicasMax, type DeploymentSpec } from "../model/spec.ts";
import type { CohortView, DeploymentView } from "../model/views.ts";
import { methods } from "../wire/calls.ts";
import { deploymentIdOf, templateHashOf } from "../wire/digest.ts";
import { found, type FoundingPorts } from "./founding.ts";
import type { Groups } from "./groups.ts";
import type { DeclareOptions, DeploymentKey, WriteAnswer } from "./node-api.ts";
import { askSteward, pause, type RouteFailure, type StewardAnswer } from "./steward-route.ts";
import { cohortView, deploymentView, nodeNameOf, type FleetView } from "./views.ts";
import { singleContainer } from "../model/template.ts";

export interface RequestsPorts extends FoundingPorts {
  readonly groups: Groups;
  readonly view: FleetView;
}

/** A write is answered within this: done, refused, or "no quorum" with what is missing. */
const writeDeadlineMs = 1_950;
const readDeadlineMs = 400;
const conflictPauseMs = 100;
const conflictsMax = 15;

export class Requests {
  readonly #ports: RequestsPorts;
  /** Foundings under way on this node, so that two requests for one name do not race each other. */
  readonly #foundings = new Map<DeploymentId, Promise<void>>();

  constructor(ports: RequestsPorts) {
    this.#ports = ports;
  }

  async declare(spec: DeploymentSpec, options: DeclareOptions): Promise<Outcome<WriteAnswer, Problem>> {
    if (!Number.isSafeInteger(spec.replicas) || spec.replicas < 0 || spec.replicas > replicasMax) {
      return refused({
        code: "invalid-spec",
        message: `replicas: expected 0 to ${replicasMax}, got ${spec.replicas}`,
      });
    }
    const deployment = deploymentIdOf(spec.namespace, spec.name);
    const templateHash = templateHashOf(spec.template);
    const change: UserChange = { kind: "declare", spec, templateHash, createOnly: options.createOnly };
    for (let attempt = 0; ; attempt++) {
      const charter = await this.#oneByOne(deployment, async () => {
        const known = await this.#charterOf(deployment);
        if (known !== undefined && !known.deleted) return { known };
        const { requestId } = options;
        const epoch = (known?.epoch ?? 0) + 1;
        return { answer: await found(this.#ports, { deployment, spec, templateHash, requestId, epoch }) };
      });
      const outcome =
        charter.known === undefined
          ? charter.answer
          : await this.#change(charter.known, options.requestId, change);
      // Deleted a moment ago, its tombstone on its way to the guardians; or founded by another node at the same time.
      const isMoving = !outcome.ok && outcome.error.code === "conflict" && attempt < conflictsMax;
      if (!isMoving) return outcome;
      await pause(this.#ports.clock, conflictPauseMs);
    }
  }

  /** A look at the charter and the founding that follows from it: two at once would found two cohorts. */
  async #oneByOne<T>(deployment: DeploymentId, act: () => Promise<T>): Promise<T> {
    for (let before = this.#foundings.get(deployment); before !== undefined;) {
      await before;
      before = this.#foundings.get(deployment);
    }
    const acting = act();
    const isOver = acting.then(
      () => void this.#foundings.delete(deployment),
      () => void this.#foundings.delete(deployment),
    );
    this.#foundings.set(deployment, isOver);
    return acting;
  }

  async scale(
    key: DeploymentKey,
    replicas: number,
    requestId: string,
  ): Promise<Outcome<WriteAnswer, Problem>> {
    return this.#changeExisting(key, requestId, { kind: "scale", replicas });
  }

  async delete(key: DeploymentKey, requestId: string): Promise<Outcome<WriteAnswer, Problem>> {
    return this.#changeExisting(key, requestId, { kind: "delete" });
  }

  async inspect(key: DeploymentKey): Promise<Outcome<DeploymentView, Problem>> {
    const charter = await this.#charterOf(deploymentIdOf(key.namespace, key.name));
    if (charter === undefined) return refused(notFound(key));
    // The tombstone comes first and the containers' end after it: until then the deployment is shown as going.
    const view = charter.deleted ? await this.#viewOf(charter) : await this.deploymentOf(charter);
    // A member that lingers after the deletion knows it still; to users it is gone.
    return view === undefined || view.status === "deleted" ? refused(notFound(key)) : ok(view);
  }

  async cohort(key: DeploymentKey): Promise<Outcome<CohortView, Problem>> {
    const charter = await this.#charterOf(deploymentIdOf(key.namespace, key.name));
    if (charter === undefined || charter.deleted) return refused(notFound(key));
    const answer = await this.#view(charter, "cohort");
    if (answer !== undefined) {
      const view: CohortView = JSON.parse(answer);
      return ok(view);
    }
    const group = this.#ports.groups.get(charter.group);
    if (group?.state === undefined) return refused(this.#noSteward(charter, new Map()));
    return ok(
      cohortView(group.state, group.status(), this.#ports.view, this.#memberFreshness(group.state.index)),
    );
  }

  /** From the steward; without one, from a member here; at worst the charter's bare facts. */
  async deploymentOf(charter: Charter): Promise<DeploymentView> {
    const view = await this.#viewOf(charter);
    if (view !== undefined) return view;
    const state = this.#ports.groups.get(charter.group)?.state;
    if (state !== undefined) {
      return deploymentView(state, this.#ports.view, undefined, this.#memberFreshness(state.index));
    }
    return this.#bareView(charter);
  }

  /** Only what the steward says. */
  async #viewOf(charter: Charter): Promise<DeploymentView | undefined> {
    const answer = await this.#view(charter, "deployment");
    if (answer === undefined) return undefined;
    const view: DeploymentView = JSON.parse(answer);
    return view;
  }

  /** Charters of all deployments of a namespace, deleted ones left out. */
  async charters(namespace: string | undefined): Promise<readonly Charter[]> {
    const ids = await this.#ports.directory.deploymentsOf(namespace);
    const charters = await Promise.all(ids.map((id) => this.#charterOf(id)));
    return charters
      .filter((charter): charter is Charter => charter !== undefined && !charter.deleted)
      .sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
  }

  async charterOf(key: DeploymentKey): Promise<Charter | undefined> {
    const charter = await this.#charterOf(deploymentIdOf(key.namespace, key.name));
    return charter === undefined || charter.deleted ? undefined : charter;
  }

  /** A member's own charter saves asking the guardians, unless it speaks of a deletion that something newer may follow. */
  async #charterOf(deployment: DeploymentId): Promise<Charter | undefined> {
    const group = this.#ports.groups.of(deployment);
    // A follower's charter may be older than the state it has applied.
    const isActive = group !== undefined && !group.charter.deleted && group.state?.status === "active";
    if (isActive && group.steward !== undefined) return group.charter;
    return this.#ports.directory.charterOf(deployment);
  }

  async #changeExisting(
    key: DeploymentKey,
    requestId: string,
    change: UserChange,
  ): Promise<Outcome<WriteAnswer, Problem>> {
    const charter = await this.charterOf(key);
    if (charter === undefined) return refused(notFound(key));
    return this.#change(charter, requestId, change);
  }

  async #change(
    charter: Charter,
    requestId: string,
    change: UserChange,
  ): Promise<Outcome<WriteAnswer, Problem>> {
    const deadline = this.#ports.clock.now() + writeDeadlineMs;
    const answer = await askSteward(this.#ports, charter, deadline, (node, timeoutMs) =>
      this.#askForChange(charter, requestId, change, node, timeoutMs),
    );
    if (answer.ok) return answer.value;
    return refused(this.#noSteward(charter, answer.error.tried, answer.error));
  }

  async #askForChange(
    charter: Charter,
    requestId: string,
    change: UserChange,
    node: NodeId,
    timeoutMs: number,
  ): Promise<StewardAnswer<Outcome<WriteAnswer, Problem>>> {
    const request = { group: charter.group, requestId, change, isRelayed: false };
    try {
      const answer = await this.#ports.peers.call(node, methods.change, request, timeoutMs);
      switch (answer.kind) {
        case "receipt":
          return { kind: "done", value: ok(answer.receipt) };
        case "problem":
          return { kind: "done", value: refused(answer.problem) };
        default:
          return answer;
      }
    } catch (error) {
      return { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
  }

  async #view(charter: Charter, what: "deployment" | "cohort"): Promise<string | undefined> {
    const deadline = this.#ports.clock.now() + readDeadlineMs;
    const answer = await askSteward(
      this.#ports,
      charter,
      deadline,
      async (node, timeoutMs): Promise<StewardAnswer<string>> => {
        try {
          const view = await this.#ports.peers.call(
            node,
            methods.view,
            { group: charter.group, what },
            timeoutMs,
          );
          return view.kind === "view" ? { kind: "done", value: view.json } : view;
        } catch (error) {
          return { kind: "failed", reason: String(error) };
        }
      },
    );
    return answer.ok ? answer.value : undefined;
  }

  #memberFreshness(index: number): DeploymentView["freshness"] {
    return {
      source: "member",
      node: this.#ports.peers.self,
      index,
      note: "no steward answers; this is what this member knew last",
    };
  }

  #bareView(charter: Charter): DeploymentView {
    const { deployment: id, namespace, name, epoch } = charter;
    const template = singleContainer({ image: "unknown" });
    return {
      id,
      namespace,
      name,
      spec: { namespace, name, replicas: 0, template },
      templateHash: "",
      status: "active",
      running: 0,
      desired: 0,
      epoch,
      replicas: [],
      unplaced: [],
      freshness: {
        source: "charter",
        node: this.#ports.peers.self,
        index: 0,
        note: `no member answers (voters: ${this.#voterWords(charter)}); only its charter is known`,
      },
    };
  }

  #noSteward(charter: Charter, tried: ReadonlyMap<NodeId, string>, failure?: RouteFailure): Problem {
    if (failure?.isStale === true) {
      return {
        code: "conflict",
        message: `the cohort of ${charter.namespace}/${charter.name} moved on while it was asked`,
        next: "run the command again",
      };
    }
    const up = charter.voters.filter((id) => this.#ports.view.member(id)?.status === "alive").length;
    const needed = Math.floor(charter.voters.length / 2) + 1;
    const code = up < needed ? "no-quorum" : "no-steward";
    const said = [...tried]
      .map(([id, reason]) => `${nodeNameOf(this.#ports.view, id)}: ${reason}`)
      .join("; ");
    return {
      code,
      message:
        code === "no-quorum"
          ? `${charter.namespace}/${charter.name} cannot be changed: ${up} of its ${charter.voters.length} voters are up and ${needed} are needed (${this.#voterWords(charter)})`
          : `no steward of ${charter.namespace}/${charter.name} answered in time${said === "" ? "" : ` (${said})`}`,
      next:
        code === "no-quorum" ? "bring a voter back; what runs goes on meanwhile" : "try again in a moment",
    };
  }

  #voterWords(charter: Charter): string {
    return charter.voters
      .map(
        (id) =>
          `${nodeNameOf(this.#ports.view, id)} is ${this.#ports.view.member(id)?.status ?? `unknown (${shortId(id)})`}`,
      )
      .join(", ");
  }
}

export function notFound({ namespace, name }: DeploymentKey): Problem {
  return {
    code: "not-found",
    message: `there is no deployment ${namespace}/${name}`,
    next: "muster ps -A lists all of them",
  };
}
