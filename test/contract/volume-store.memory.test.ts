import { MemoryVolumes } from "../../src/adapters/volumes/memory-volumes.ts";
import { runVolumeStoreSuite } from "./volume-store-suite.ts";

runVolumeStoreSuite("memory", async () => ({ volumes: new MemoryVolumes(), dispose: async () => {} }));
