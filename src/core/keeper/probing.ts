/**
 * When containers are asked whether they are well, and what their answers mean. The startup probe
 * goes first and ends with its first success; the others wait for it. A container without a startup
 * probe has started up at once, and one without a readiness probe is ready from then on.
 */
import type { Probes } from "../../model/probe.ts";
import type { Instant } from "../machine.ts";
import { beginEnding } from "./ends.ts";
import { amendPart, entryOf, setPartMessage, type Instance } from "./instance.ts";
import type { KeeperInput, ProbePurpose } from "./messages.ts";
import type { Part, ProbeRun } from "./part.ts";

type Probed = Extract<KeeperInput, { readonly kind: "probed" }>;

const purposes: readonly ProbePurpose[] = ["startup", "readiness", "liveness"];

/** A run has begun. */
export function beginProbing(instance: Instance, part: Part, now: Instant): void {
  const { startup, readiness } = part.isInit ? noProbes : part.template.probes;
  amendPart(instance, part, {
    hasStartedUp: startup === undefined,
    ready: !part.isInit && startup === undefined && readiness === undefined,
  });
  part.probes = probesOf(part, now);
}

/** A run that another agent began goes on with what that one had found out. */
export function resumeProbing(instance: Instance, part: Part, now: Instant): void {
  part.probes = probesOf(part, now);
  const { startup, readiness } = part.template.probes;
  const hasStartedUp = entryOf(instance, part).hasStartedUp || startup === undefined;
  const { ready } = entryOf(instance, part);
  if (part.isInit) return;
  // It may have been on its way to an end: whether it is well is for its liveness probe to say, again.
  amendPart(instance, part, { hasStartedUp });
  if (ready || !hasStartedUp || readiness !== undefined) return;
  amendPart(instance, part, { ready: true });
  setPartMessage(instance, part, undefined);
}

const noProbes: Probes = {};

function probesOf(part: Part, now: Instant): ProbeRun[] {
  if (part.isInit) return [];
  return purposes.flatMap((purpose) => {
    const probe = part.template.probes[purpose];
    if (probe === undefined) return [];
    return [
      {
        purpose,
        probe,
        nextAt: now + probe.initialDelayMs,
        isInFlight: false,
        successes: 0,
        failures: 0,
      },
    ];
  });
}

/** The probes that have their turn: a container on its way to an end is not asked any more. */
export function activeProbes(instance: Instance, part: Part): readonly ProbeRun[] {
  if (part.probes.length === 0 || part.state.kind !== "running" || part.ending !== undefined) return [];
  const { hasStartedUp } = entryOf(instance, part);
  return part.probes.filter(({ purpose }) => (purpose === "startup") !== hasStartedUp);
}

/** Whatever a template from another node asks for, a node does not probe without pause. */
const periodMsMin = 100;

export function probeBegun(run: ProbeRun, now: Instant): void {
  run.isInFlight = true;
  run.nextAt = now + Math.max(periodMsMin, run.probe.periodMs);
}

/** What an answer changes; the caller has checked that it is of the run that there is. */
export function probed(instance: Instance, part: Part, answer: Probed, now: Instant): void {
  const run = part.probes.find(({ purpose }) => purpose === answer.purpose);
  if (run === undefined || !run.isInFlight) return;
  run.isInFlight = false;
  if (part.state.kind !== "running" || part.ending !== undefined) return;
  run.successes = answer.isWell ? run.successes + 1 : 0;
  run.failures = answer.isWell ? 0 : run.failures + 1;
  if (run.successes >= run.probe.successThreshold) succeeded(instance, part, run.purpose);
  else if (run.failures >= run.probe.failureThreshold) failed(instance, part, answer, now);
}

function succeeded(instance: Instance, part: Part, purpose: ProbePurpose): void {
  const { hasStartedUp, ready } = entryOf(instance, part);
  if (purpose === "startup" && !hasStartedUp) {
    const isReady = part.template.probes.readiness === undefined;
    amendPart(instance, part, { hasStartedUp: true, ready: isReady });
    setPartMessage(instance, part, undefined);
  }
  if (purpose === "readiness" && !ready) {
    amendPart(instance, part, { ready: true });
    setPartMessage(instance, part, undefined);
  }
}

function failed(instance: Instance, part: Part, { purpose, detail }: Probed, now: Instant): void {
  const cause = `${purpose} probe failed: ${detail}`;
  const { ready, message } = entryOf(instance, part);
  if (purpose !== "readiness") beginEnding(part, cause, now);
  // One word for as long as it lasts: details that change with each try are not news.
  else if (!ready && message !== undefined) return;
  if (ready) amendPart(instance, part, { ready: false });
  setPartMessage(instance, part, cause);
}
