import { assert } from "../../../model/assert.ts";
import type { ConfState } from "../entry.ts";
import { emptyGroupConfig } from "../tracker/tracker.ts";
import {
  type ChangeContext,
  type ChangeResult,
  changeSimply,
  enterJoint,
  type Membership,
} from "./changer.ts";
import type { MemberChange } from "./conf-change.ts";

/**
 * The membership that a snapshot's configuration describes. A joint configuration is rebuilt as it came
 * about: the outgoing voters first, then the step from them into the joint configuration.
 */
export function restoreMembership(conf: ConfState, context: ChangeContext): Membership {
  const first = conf.votersOutgoing.length > 0 ? [...conf.votersOutgoing] : [...conf.voters];
  let membership: Membership = { config: emptyGroupConfig, progress: new Map() };
  for (const member of first)
    membership = unwrap(changeSimply(membership, [{ kind: "add-voter", member }], context));
  const learners: MemberChange[] = [...conf.learners, ...conf.learnersNext].map((member) => ({
    kind: "add-learner",
    member,
  }));
  if (conf.votersOutgoing.length === 0) {
    return learners.length === 0 ? membership : unwrap(changeSimply(membership, learners, context));
  }
  const steps: MemberChange[] = [
    ...conf.votersOutgoing.map((member): MemberChange => ({ kind: "remove", member })),
    ...conf.voters.map((member): MemberChange => ({ kind: "add-voter", member })),
    ...learners,
  ];
  return unwrap(enterJoint(membership, steps, conf.autoLeave, context));
}

function unwrap(result: ChangeResult): Membership {
  assert(result.ok, "a stored configuration is valid");
  return result.membership;
}
