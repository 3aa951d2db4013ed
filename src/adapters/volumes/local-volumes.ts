import { chmod, lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { idPattern, type DeploymentId } from "../../model/ids.ts";
import { VolumeError, type VolumeStore } from "../../ports/volume-store.ts";
import { isVolumeName } from "./volume-name.ts";

/** Nobody but root enters what is above a volume. */
const closed = 0o700;
/** Inside containers anybody may write, as whatever user they run. */
const open = 0o777;

/** Directories below one root: `DEPLOYMENT-ID/VOLUME`. */
export class LocalVolumes implements VolumeStore {
  readonly #root: string;

  constructor(options: { readonly root: string }) {
    this.#root = options.root;
  }

  async directory(deployment: DeploymentId, volume: string): Promise<string> {
    if (!idPattern.test(deployment) || !isVolumeName(volume)) {
      throw new VolumeError(`${JSON.stringify(volume)} cannot be the name of a volume`, {
        code: "bad-volume",
        volume,
      });
    }
    const parent = join(this.#root, deployment);
    const path = join(parent, volume);
    try {
      await mkdir(parent, { recursive: true, mode: closed });
      await mkdir(path, { mode: open }).then(
        // Past the process's own mask.
        () => chmod(path, open),
        (error: unknown) => {
          if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
        },
      );
      if (!(await lstat(path)).isDirectory()) throw new Error("it is not a directory");
      return path;
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      throw new VolumeError(
        `volume ${volume} cannot be made at ${path}: ${detail}`,
        { code: "failed", volume, detail },
        { cause: error },
      );
    }
  }
}
