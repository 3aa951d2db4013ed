/** What a user asked for, applied to the replicated state. */
import { ok, refused } from "../../model/outcome.ts";
import type { Problem } from "../../model/problem.ts";
import { deploymentName, replicasMax, type DeploymentSpec } from "../../model/spec.ts";
import type { UserChange } from "./commands.ts";
import { note, slotsWithout, type Draft } from "./draft.ts";
import { isOccupying, isServing, type RequestAnswer } from "./state.ts";
import { imageWords } from "../../model/template.ts";

/** Applies the change once: a request id that was answered is not applied again. */
export function applyRequest(draft: Draft, requestId: string, change: UserChange): void {
  if (draft.requests.has(requestId)) return;
  draft.requests.set(requestId, answerTo(draft, change));
}

function answerTo(draft: Draft, change: UserChange): RequestAnswer {
  if (change.kind === "delete") return applyDelete(draft);
  const name = deploymentName(draft.spec);
  if (draft.status !== "active")
    return refused({
      code: "conflict",
      message: `${name} is being deleted.`,
      next: "Try again when it is gone.",
    });
  if (change.kind === "scale") {
    return (
      replicasProblem(change.replicas) ??
      applySpec(draft, { ...draft.spec, replicas: change.replicas }, draft.templateHash)
    );
  }
  if (change.createOnly)
    return refused({
      code: "already-exists",
      message: `${name} exists already.`,
      next: "Use apply to change it, or delete it first.",
    });
  if (deploymentName(change.spec) !== name)
    return refused({
      code: "invalid-request",
      message: `A declaration of ${deploymentName(change.spec)} came to the cohort of ${name}.`,
    });
  return replicasProblem(change.spec.replicas) ?? applySpec(draft, change.spec, change.templateHash);
}

function replicasProblem(replicas: number): { readonly ok: false; readonly error: Problem } | undefined {
  if (Number.isInteger(replicas) && replicas >= 0 && replicas <= replicasMax) return undefined;
  return refused({
    code: "invalid-request",
    message: `${replicas} is not a number of replicas.`,
    next: `Ask for a whole number from 0 to ${replicasMax}.`,
  });
}

function applySpec(draft: Draft, spec: DeploymentSpec, templateHash: string): RequestAnswer {
  const before = draft.spec.replicas;
  const isSameTemplate = templateHash === draft.templateHash;
  if (isSameTemplate && spec.replicas === before) return receipt(draft, false);
  draft.spec = spec;
  draft.templateHash = templateHash;
  draft.specVersion += 1;
  const empty = slotsWithout(draft, isOccupying);
  const more = Math.max(0, spec.replicas - before);
  draft.emptyOtherwise = isSameTemplate ? Math.min(empty, draft.emptyOtherwise + more) : empty;
  const replicas = spec.replicas === before ? `${before} replicas` : `${before} -> ${spec.replicas} replicas`;
  note(
    draft,
    isSameTemplate
      ? { kind: "scaled", cause: replicas }
      : { kind: "declared", cause: `${replicas} of ${imageWords(spec.template)}` },
  );
  return receipt(draft, true);
}

function applyDelete(draft: Draft): RequestAnswer {
  if (draft.status === "deleted")
    return refused({
      code: "not-found",
      message: `${deploymentName(draft.spec)} is deleted.`,
    });
  if (draft.status === "deleting") return receipt(draft, false);
  draft.status = "deleting";
  draft.charterVersion += 1;
  draft.unplaced = { key: "", reasons: [] };
  let serving = 0;
  for (const promise of draft.promises.values()) if (isServing(promise)) serving += 1;
  note(draft, {
    kind: "deleted",
    cause: `deletion asked for, ${serving} replicas to release`,
  });
  return receipt(draft, true);
}

function receipt(draft: Draft, changed: boolean): RequestAnswer {
  return ok({
    deployment: draft.base.deployment,
    templateHash: draft.templateHash,
    desired: draft.status === "active" ? draft.spec.replicas : 0,
    changed,
    epoch: draft.base.epoch,
    index: draft.index,
    notes: [],
  });
}
