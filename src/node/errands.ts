/** Carries a steward's errands to other nodes and brings the answers back to its group. */
import { TransportError } from "../ports/transport.ts";
import type { Logger } from "../ports/logger.ts";
import { methods } from "../wire/calls.ts";
import type { Errand, Group } from "./group.ts";
import type { Peers } from "./peers.ts";

export interface ErrandPorts {
  readonly peers: Peers;
  readonly logger: Logger;
}

const callTimeoutMs = 1_000;
/** An award makes a book entry durable on the other side. */
const awardTimeoutMs = 5_000;

/** Never rejects: what fails is said to the group where it wants to know, and is otherwise repeated by it. */
export async function runErrand(ports: ErrandPorts, group: Group, errand: Errand): Promise<void> {
  try {
    await carryOut(ports, group, errand);
  } catch (error) {
    ports.logger.debug("errand failed", { errand: errand.kind, to: errand.to, error: String(error) });
    if (errand.kind !== "call") return;
    const detail = error instanceof TransportError ? error.message : String(error);
    group.feed({
      kind: "call-answer",
      callId: errand.callId,
      node: errand.to,
      answer: { kind: "refusal", refusal: { node: errand.to, reason: "unreachable", detail } },
    });
  }
}

async function carryOut({ peers }: ErrandPorts, group: Group, errand: Errand): Promise<void> {
  const { to: node } = errand;
  switch (errand.kind) {
    case "call": {
      const answer = await peers.call(node, methods.call, errand.request, callTimeoutMs);
      group.feed({ kind: "call-answer", callId: errand.callId, node, answer });
      return;
    }
    case "award": {
      const { cohort, promises } = errand;
      const results = await peers.call(node, methods.award, { cohort, promises }, awardTimeoutMs);
      group.feed({ kind: "award-answer", node, results });
      return;
    }
    case "release": {
      const { cohort, promises, reason } = errand;
      const answer = await peers.call(node, methods.release, { cohort, promises, reason }, callTimeoutMs);
      group.feed({ kind: "release-answer", node, ...answer });
      return;
    }
    case "inquire": {
      const { reports } = await peers.call(node, methods.inquire, { cohort: errand.cohort }, callTimeoutMs);
      group.feed({ kind: "report", node, reports, inquiry: errand.inquiry });
      return;
    }
    case "ack-report": {
      const { cohort, acked, unknown } = errand;
      await peers.call(node, methods.acknowledge, { cohort, acked, unknown }, callTimeoutMs);
      return;
    }
  }
}
