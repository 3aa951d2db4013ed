/**
 * Directories that the node keeps for deployments: what their containers write there outlives replicas,
 * agents and losses of power, and stays on this node.
 *
 * `directory` is idempotent and may be called for one volume by several replicas at a time. Whoever gets
 * the path may write there; nobody else of the machine but root reaches it. Rejects with VolumeError.
 */
import type { DeploymentId } from "../model/ids.ts";

export interface VolumeStore {
  /** The absolute path of a directory, made empty the first time. */
  directory(deployment: DeploymentId, volume: string): Promise<string>;
}

export type VolumeErrorInfo =
  /** It is no name that a directory can have. */
  | { readonly code: "bad-volume"; readonly volume: string }
  | { readonly code: "failed"; readonly volume: string; readonly detail: string };

export class VolumeError extends Error {
  override readonly name = "VolumeError";
  readonly info: VolumeErrorInfo;
  constructor(message: string, info: VolumeErrorInfo, options?: { cause?: unknown }) {
    super(message, options);
    this.info = info;
  }
}
