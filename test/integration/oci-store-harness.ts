/** An OciImageStore in a directory of its own, with the real clock and short patience. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  OciImageStore,
  type OciImageStoreOptions,
  ociImageStoreDefaults,
} from "../../src/adapters/images/oci/oci-image-store.ts";
import { LineLogger } from "../../src/adapters/system/line-logger.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import { SystemEntropy } from "../../src/adapters/system/system-entropy.ts";

/** How a store run from source starts its unpacking child. */
export const unpackCommand: readonly string[] = [process.execPath, join(import.meta.dir, "unpack-child.ts")];

export interface OciStoreHarness {
  readonly root: string;
  readonly store: OciImageStore;
  /** Another store over the same directory, as after a restart of the agent. */
  reopen(): OciImageStore;
  dispose(): Promise<void>;
}

/** A root that is given stays its owner's to remove. */
export async function openOciStore(options: Partial<OciImageStoreOptions> = {}): Promise<OciStoreHarness> {
  const own = options.root === undefined ? await mkdtemp(join(tmpdir(), "muster-images-")) : undefined;
  const root = options.root ?? join(own ?? "", "store");
  const clock = new SystemClock();
  const log = new LineLogger(
    { clock, write: (line) => process.stderr.write(line) },
    { level: "error", format: "json", fields: {} },
  );
  const open = () =>
    new OciImageStore(
      { clock, entropy: new SystemEntropy(), log },
      {
        ...ociImageStoreDefaults,
        root,
        platform: { os: "linux", architecture: goArchitecture(), variant: undefined },
        credentialsPath: undefined,
        unpackCommand,
        backoffBaseMs: 10,
        ...options,
      },
    );
  return {
    root,
    store: open(),
    reopen: open,
    dispose: async () => {
      if (own !== undefined) await rm(own, { recursive: true, force: true });
    },
  };
}

export function goArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}
