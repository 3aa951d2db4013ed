import { idPattern, type DeploymentId } from "../../model/ids.ts";
import { VolumeError, type VolumeStore } from "../../ports/volume-store.ts";
import { isVolumeName } from "./volume-name.ts";

/** Volumes of a machine that exists only in memory: paths, and nothing behind them. */
export class MemoryVolumes implements VolumeStore {
  async directory(deployment: DeploymentId, volume: string): Promise<string> {
    if (!idPattern.test(deployment) || !isVolumeName(volume)) {
      throw new VolumeError(`${JSON.stringify(volume)} cannot be the name of a volume`, {
        code: "bad-volume",
        volume,
      });
    }
    return `/volumes/${deployment}/${volume}`;
  }
}
