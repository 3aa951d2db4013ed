/** What a lab shows of one deployment: by the answers of nodes that live, and by the processes that run. */
import { MusterClient } from "../edge/client/muster-client.ts";
import { LabError } from "./errors.ts";
import type { Lab } from "./lab.ts";
import { isAlive } from "./processes.ts";
import type { CohortView, DeploymentView, NodeView, ReplicaView } from "../model/views.ts";
import type { DeploymentKey } from "../node/node-api.ts";

/** A node that does not answer in this time is passed over. */
const answerWaitMs = 1_000;

export interface LiveContainer {
  readonly machine: string;
  readonly container: string;
  readonly replica: number;
  readonly pids: readonly number[];
}

export class Witness {
  readonly #lab: Lab;
  readonly #key: DeploymentKey;

  constructor(lab: Lab, key: DeploymentKey) {
    this.#lab = lab;
    this.#key = key;
  }

  /** Containers of deployments with this name that have a live process, on machines that have power. */
  live(): readonly LiveContainer[] {
    // Name, replica, hash of the promise, container, attempt.
    const pattern = new RegExp(`^${this.#key.name}-(\\d+)-[0-9a-f]{16}-\\d+-\\d+$`);
    return this.#lab.machines.flatMap(({ name: machine }) =>
      [...this.#lab.containersOf(machine)].flatMap(([container, all]) => {
        const replica = pattern.exec(container)?.[1];
        const pids = all.filter(isAlive);
        return replica === undefined || pids.length === 0
          ? []
          : [{ machine, container, replica: Number(replica), pids }];
      }),
    );
  }

  processesOf({ replica, nodeName }: ReplicaView): readonly number[] {
    return this.live()
      .filter((one) => one.machine === nodeName && one.replica === replica)
      .flatMap(({ pids }) => pids);
  }

  /** What is not as desired, in words; undefined when a steward says that each replica runs, and processes agree. */
  missing(view: DeploymentView): string | undefined {
    if (view.freshness.source !== "steward") return `known from a ${view.freshness.source} only`;
    const running = view.replicas.filter((replica) => replica.phase === "running");
    if (running.length < view.desired) return `${running.length} of ${view.desired} are said to run`;
    const slots = new Set(
      running.filter((replica) => this.processesOf(replica).length > 0).map(({ replica }) => replica),
    );
    return slots.size < view.desired ? `${slots.size} of ${view.desired} have a process` : undefined;
  }

  /** What runs besides the desired replicas, in words. */
  surplus(view: DeploymentView): string | undefined {
    const live = this.live().length;
    return live > view.desired ? `${live} containers run, ${view.desired} shall` : undefined;
  }

  async mustSee(): Promise<DeploymentView> {
    const view = await this.deployment();
    if (view !== undefined) return view;
    throw new LabError(
      `no machine of the lab knows ${this.#key.namespace}/${this.#key.name}`,
      { code: "unsuitable", what: "deployment" },
      { next: "muster lab exec n1 -- muster ps -A" },
    );
  }

  deployment(): Promise<DeploymentView | undefined> {
    return this.#ask((client) => client.inspect(this.#key));
  }

  cohort(): Promise<CohortView | undefined> {
    return this.#ask((client) => client.cohort(this.#key));
  }

  nodesSeenBy(machine: string): Promise<readonly NodeView[] | undefined> {
    return answer(new MusterClient(this.#lab.socketOf(machine)).nodes());
  }

  /** The answer of the first machine that gives one. */
  async #ask<T>(question: (client: MusterClient) => Promise<T>): Promise<T | undefined> {
    for (const { name } of this.#lab.machines) {
      if (!this.#lab.isOn(name)) continue;
      const said = await answer(question(new MusterClient(this.#lab.socketOf(name))));
      if (said !== undefined) return said;
    }
    return undefined;
  }
}

/** Undefined when the node does not answer, or not in time, or not with what was asked for. */
async function answer<T>(asked: Promise<T>): Promise<T | undefined> {
  let timer: Timer | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, answerWaitMs, undefined);
  });
  try {
    return await Promise.race([asked.catch(() => undefined), late]);
  } finally {
    clearTimeout(timer);
  }
}
