/** The first state of a cohort, which becomes its group's bootstrap snapshot. */
import { assert } from "../../model/assert.ts";
import type { DeploymentId, GroupId, NodeId } from "../../model/ids.ts";
import { ok } from "../../model/outcome.ts";
import { deploymentName, type DeploymentSpec } from "../../model/spec.ts";
import type { CohortState } from "./state.ts";
import { imageWords } from "../../model/template.ts";

export interface Founding {
  readonly group: GroupId;
  readonly deployment: DeploymentId;
  readonly epoch: number;
  readonly founder: NodeId;
  readonly spec: DeploymentSpec;
  readonly templateHash: string;
  readonly voters: readonly NodeId[];
  /** The declaration that founds the cohort; repeating it is answered from the state. */
  readonly requestId: string;
  /** Wall clock, milliseconds since 1970. */
  readonly atMs: number;
}

/** Index of the bootstrap snapshot: the log's first entry follows it. */
export const foundingIndex = 1;

/** The state as if the declaration had been applied at `foundingIndex`. */
export function foundingState(founding: Founding): CohortState {
  const { spec, templateHash, voters } = founding;
  assert(voters.length > 0, "a cohort is founded with at least one voter");
  const stamp = {
    deployment: deploymentName(spec),
    index: foundingIndex,
    epoch: founding.epoch,
    atMs: founding.atMs,
  } as const;
  return {
    group: founding.group,
    deployment: founding.deployment,
    epoch: founding.epoch,
    founder: founding.founder,
    index: foundingIndex,
    status: "active",
    spec,
    templateHash,
    specVersion: 1,
    charterVersion: 1,
    voters: [...voters],
    steward: undefined,
    stewardTerm: 0,
    nextOrdinal: 1,
    emptyOtherwise: 0,
    promises: new Map(),
    templates: new Map([[templateHash, spec.template]]),
    requests: new Map([
      [
        founding.requestId,
        ok({
          deployment: founding.deployment,
          templateHash,
          desired: spec.replicas,
          changed: true,
          epoch: founding.epoch,
          index: foundingIndex,
          notes: [],
        }),
      ],
    ]),
    unplaced: { key: "", reasons: [] },
    history: [
      {
        ...stamp,
        kind: "declared",
        actor: "user",
        cause: `founded with ${spec.replicas} of ${imageWords(spec.template)}`,
      },
    ],
    historyCount: 1,
  };
}
