/** What the API answers, as schemas: the types of `src/model` once more, held to them by the compiler, for the API's document. */
import * as v from "valibot";
import type { HistoryEvent, HistoryKind } from "../../model/event.ts";
import type { Problem } from "../../model/problem.ts";
import type { ContainerReport } from "../../model/promise.ts";
import type { UsageView } from "../../model/usage.ts";
import type {
  CohortView,
  DeploymentView,
  Freshness,
  NodeView,
  PromiseView,
  ReplicaView,
  StatusView,
} from "../../model/views.ts";
import type { ReplicaLogLine, WriteAnswer } from "../../node/node-api.ts";
import { specSchema } from "./bodies.ts";

/** A schema whose values are of the type. */
function of<T>() {
  return <Schema extends v.GenericSchema<unknown, T>>(schema: Schema): Schema => schema;
}

const { array, boolean, exactOptional, number, picklist, record, strictObject, string } = v;
const count = v.pipe(number(), v.safeInteger(), v.minValue(0));
const whole = v.pipe(number(), v.safeInteger());
const texts = array(string());
const resources = strictObject({ cpuMillis: count, memoryBytes: count });
const memberStatus = picklist(["alive", "suspect", "dead", "left"]);
const described = <Schema extends v.GenericSchema>(schema: Schema, words: string) =>
  v.pipe(schema, v.description(words));

export const problemSchema = of<Problem>()(
  strictObject({
    code: picklist([
      "invalid-spec",
      "invalid-request",
      "not-found",
      "already-exists",
      "unplaceable",
      "no-quorum",
      "no-steward",
      "unreachable",
      "image-failed",
      "conflict",
      "too-many-requests",
      "stopping",
      "unsupported",
      "internal",
    ]),
    message: string(),
    places: exactOptional(
      array(
        strictObject({
          file: exactOptional(string()),
          line: exactOptional(count),
          column: exactOptional(count),
          path: exactOptional(string()),
          message: string(),
        }),
      ),
    ),
    next: exactOptional(string()),
  }),
);
export const problemAnswer = strictObject({ problem: problemSchema });
export const emptyAnswer = strictObject({});

export const statusAnswer = of<StatusView>()(
  strictObject({
    id: string(),
    name: string(),
    version: string(),
    commit: string(),
    pid: count,
    uptimeMs: count,
    fleet: string(),
    members: strictObject({ alive: count, suspect: count, dead: count }),
    promises: count,
    groups: count,
    rssBytes: count,
  }),
);

export const nodesAnswer = of<readonly NodeView[]>()(
  array(
    strictObject({
      id: string(),
      name: string(),
      status: memberStatus,
      addresses: texts,
      version: string(),
      architecture: string(),
      capacity: resources,
      free: resources,
      zone: exactOptional(string()),
      labels: record(string(), string()),
      self: described(boolean(), "This is the node that answers."),
    }),
  ),
);

export const inviteAnswer = strictObject({ token: string(), expiresAtMs: count, join: texts });

export const promisesAnswer = strictObject({
  promises: of<readonly PromiseView[]>()(
    array(
      strictObject({
        promise: string(),
        namespace: string(),
        name: string(),
        replica: count,
        node: string(),
        nodeName: string(),
        phase: picklist(["admitted", "starting", "running", "backoff", "completed", "stopping", "stopped"]),
        assessment: picklist(["kept", "late", "broken"]),
        restarts: count,
        sinceMs: count,
        message: exactOptional(string()),
        resources,
      }),
    ),
  ),
  unreachable: texts,
});

export const writeAnswer = of<WriteAnswer>()(
  strictObject({
    deployment: string(),
    templateHash: string(),
    desired: count,
    changed: described(boolean(), "False when the deployment already was exactly so."),
    epoch: count,
    index: count,
    notes: texts,
  }),
);

const freshness = of<Freshness>()(
  strictObject({
    source: picklist(["steward", "member", "charter"]),
    node: string(),
    index: described(count, "The log index the answer reflects."),
    note: exactOptional(string()),
  }),
);

const containerReport = of<ContainerReport>()(
  strictObject({
    name: string(),
    isInit: boolean(),
    phase: picklist(["waiting", "starting", "running", "backoff", "completed", "stopping"]),
    ready: boolean(),
    restarts: count,
    exitCode: exactOptional(whole),
    oomKilled: exactOptional(boolean()),
    message: exactOptional(string()),
    imageDigest: exactOptional(string()),
  }),
);

const replica = of<ReplicaView>()(
  strictObject({
    replica: count,
    promise: string(),
    node: string(),
    nodeName: string(),
    phase: picklist([
      "admitted",
      "starting",
      "running",
      "backoff",
      "completed",
      "stopping",
      "stopped",
      "awarded",
      "broken",
      "releasing",
    ]),
    ready: boolean(),
    restarts: count,
    exitCode: exactOptional(whole),
    message: exactOptional(string()),
    sinceMs: count,
    templateHash: string(),
    address: string(),
    containers: array(containerReport),
  }),
);

export const deploymentAnswer = of<DeploymentView>()(
  strictObject({
    id: string(),
    namespace: string(),
    name: string(),
    spec: specSchema,
    templateHash: string(),
    status: picklist(["active", "deleting", "deleted"]),
    running: count,
    desired: count,
    steward: exactOptional(string()),
    epoch: count,
    replicas: array(replica),
    unplaced: described(texts, "Why replicas are not placed, one line a reason."),
    freshness,
  }),
);
export const deploymentsAnswer = array(deploymentAnswer);

export const cohortAnswer = of<CohortView>()(
  strictObject({
    deployment: string(),
    namespace: string(),
    name: string(),
    group: string(),
    epoch: count,
    term: count,
    steward: exactOptional(string()),
    members: array(
      strictObject({
        node: string(),
        name: string(),
        roles: array(picklist(["steward", "voter", "learner", "holder", "witness"])),
        status: picklist(["alive", "suspect", "dead", "left", "unknown"]),
        match: exactOptional(count),
      }),
    ),
    commitIndex: count,
    tolerates: count,
    note: exactOptional(string()),
    freshness,
  }),
);

const historyKinds = [
  "declared",
  "scaled",
  "deleted",
  "called",
  "awarded",
  "promised",
  "refused",
  "starting",
  "running",
  "backoff",
  "completed",
  "broken",
  "releasing",
  "released",
  "steward",
  "voter-added",
  "voter-removed",
  "unplaceable",
  "placeable",
] as const satisfies readonly HistoryKind[];

export const eventAnswer = of<HistoryEvent>()(
  strictObject({
    deployment: string(),
    index: count,
    epoch: count,
    atMs: count,
    kind: picklist(historyKinds),
    actor: described(string(), 'A node\'s id, or "user".'),
    node: exactOptional(string()),
    replica: exactOptional(count),
    promise: exactOptional(string()),
    cause: string(),
  }),
);

export const usageAnswer = of<UsageView>()(
  strictObject({
    nodes: array(
      strictObject({
        node: string(),
        nodeName: string(),
        atMs: number(),
        machine: strictObject({
          cpuMicros: number(),
          cpuCount: count,
          memoryBytes: count,
          memoryTotalBytes: count,
        }),
        containers: array(
          strictObject({
            namespace: string(),
            name: string(),
            replica: count,
            container: string(),
            id: string(),
            cpuMicros: number(),
            memoryBytes: count,
            memoryLimitBytes: count,
            pids: count,
            readBytes: count,
            writtenBytes: count,
            receivedBytes: count,
            sentBytes: count,
          }),
        ),
      }),
    ),
    unreachable: texts,
  }),
);

export const logLineAnswer = of<ReplicaLogLine>()(
  strictObject({
    replica: count,
    stream: picklist(["stdout", "stderr"]),
    atMs: count,
    text: string(),
  }),
);
