import {
  MemoryImageStore,
  type MemoryImages,
  MemoryRegistry,
} from "../../src/adapters/images/memory-image-store.ts";
import { runImageStoreSuite } from "./image-store-suite.ts";

runImageStoreSuite("memory", async () => {
  const registry = new MemoryRegistry();
  const images: MemoryImages = new Map();
  const open = (): MemoryImageStore => new MemoryImageStore({ registry, images });
  return {
    store: open(),
    publish: async (name, config) => {
      const reference = `registry.test/${name}:1`;
      registry.publish(reference, config);
      return reference;
    },
    missingReference: () => "registry.test/suite/missing:1",
    cutSource: async () => {
      registry.isReachable = false;
    },
    reopen: async () => open(),
    dispose: async () => {},
  };
});
