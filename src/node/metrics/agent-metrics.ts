/** What an agent knows of itself, its fleet and its cohorts, as metrics. */
import { freeOf, type BookSummary } from "../../core/placement/book.ts";
import { single, type MetricFamily, type MetricSample } from "../../model/metric.ts";
import type { InstancePhase } from "../../model/promise.ts";
import type { StatusView } from "../../model/views.ts";
import type { GroupStatus } from "../views.ts";

export interface AgentParts {
  readonly status: StatusView;
  readonly fleet: { members(): readonly { readonly status: string }[] };
  readonly book: {
    summary(): BookSummary;
    entries(): readonly { readonly report: { readonly phase: InstancePhase } }[];
  };
  readonly groups: { all(): readonly Cohort[] };
}

/** A cohort as far as its metrics go. */
interface Cohort {
  readonly charter: { readonly namespace: string; readonly name: string };
  readonly isSteward: boolean;
  status(): GroupStatus;
}

const phases: readonly InstancePhase[] = [
  "admitted",
  "starting",
  "running",
  "backoff",
  "completed",
  "stopping",
  "stopped",
];

export function agentMetrics({ status, fleet, book, groups }: AgentParts): readonly MetricFamily[] {
  const left = fleet.members().filter((member) => member.status === "left").length;
  return [
    {
      type: "gauge",
      name: "muster_build_info",
      help: "Always 1; the labels say which program this is.",
      samples: [{ labels: { version: status.version, commit: status.commit, node: status.name }, value: 1 }],
    },
    single("gauge", "muster_uptime_seconds", "Time since the agent started.", status.uptimeMs / 1000),
    {
      type: "gauge",
      name: "muster_members",
      help: "Members of the fleet that this node knows, by status.",
      samples: Object.entries({ ...status.members, left }).map(([name, value]) => ({
        labels: { status: name },
        value,
      })),
    },
    promisesByPhase(book.entries().map(({ report }) => report.phase)),
    ...reservations(book.summary()),
    ...cohorts(groups.all()),
  ];
}

function promisesByPhase(held: Iterable<InstancePhase>): MetricFamily {
  const counted = new Map(phases.map((phase) => [phase, 0]));
  for (const phase of held) counted.set(phase, (counted.get(phase) ?? 0) + 1);
  return {
    type: "gauge",
    name: "muster_promises",
    help: "Promises in this node's book, by the phase of their instance.",
    samples: [...counted].map(([phase, value]) => ({ labels: { phase }, value })),
  };
}

function reservations(book: BookSummary): readonly MetricFamily[] {
  const free = freeOf(book);
  const { cpuMillis, memoryBytes } = book.capacity;
  return [
    single("gauge", "muster_capacity_cpu_cores", "CPU that this node offers.", cpuMillis / 1000),
    single(
      "gauge",
      "muster_reserved_cpu_cores",
      "CPU that promises of this node reserve.",
      (cpuMillis - free.cpuMillis) / 1000,
    ),
    single("gauge", "muster_capacity_memory_bytes", "Memory that this node offers.", memoryBytes),
    single(
      "gauge",
      "muster_reserved_memory_bytes",
      "Memory that promises of this node reserve.",
      memoryBytes - free.memoryBytes,
    ),
  ];
}

function cohorts(all: readonly Cohort[]): readonly MetricFamily[] {
  const led = all.filter(({ isSteward }) => isSteward).length;
  const each = (value: (status: GroupStatus) => number): readonly MetricSample[] =>
    all.map((cohort) => ({
      labels: { namespace: cohort.charter.namespace, deployment: cohort.charter.name },
      value: value(cohort.status()),
    }));
  return [
    {
      type: "gauge",
      name: "muster_cohorts",
      help: "Cohorts that this node is a member of, by its role.",
      samples: [
        { labels: { role: "steward" }, value: led },
        { labels: { role: "follower" }, value: all.length - led },
      ],
    },
    {
      type: "gauge",
      name: "muster_cohort_term",
      help: "Raft term of a cohort, as this member knows it.",
      samples: each(({ term }) => term),
    },
    {
      type: "gauge",
      name: "muster_cohort_commit_index",
      help: "Last log index of a cohort that this member knows to be committed.",
      samples: each(({ commitIndex }) => commitIndex),
    },
  ];
}
