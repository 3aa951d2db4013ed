/** What every volume store promises. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { VolumeError, type VolumeStore } from "../../src/ports/volume-store.ts";

export interface VolumeStoreBench {
  readonly volumes: VolumeStore;
  dispose(): Promise<void>;
}

const one = "1".repeat(32);
const another = "2".repeat(32);

export function runVolumeStoreSuite(name: string, open: () => Promise<VolumeStoreBench>): void {
  describe(`volume store: ${name}`, () => {
    let bench: VolumeStoreBench;
    beforeEach(async () => {
      bench = await open();
    });
    afterEach(() => bench.dispose());

    test("one volume of one deployment is one directory, for as many as ask at a time", async () => {
      const paths = await Promise.all([1, 2, 3].map(() => bench.volumes.directory(one, "data")));
      expect(new Set(paths).size).toBe(1);
      expect(paths[0]).toStartWith("/");
    });

    test("deployments and volumes are apart", async () => {
      const paths = await Promise.all([
        bench.volumes.directory(one, "data"),
        bench.volumes.directory(one, "Data.2"),
        bench.volumes.directory(another, "data"),
      ]);
      expect(new Set(paths).size).toBe(3);
    });

    test("what is no name of a directory is refused", async () => {
      for (const volume of ["", ".", "..", "../data", "a/b", "/etc", "a\0b", ".hidden", "x".repeat(65)])
        expect(bench.volumes.directory(one, volume)).rejects.toBeInstanceOf(VolumeError);
      expect(bench.volumes.directory("../../etc", "data")).rejects.toBeInstanceOf(VolumeError);
    });
  });
}
