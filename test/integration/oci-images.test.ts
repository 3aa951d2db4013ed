/** REAL: the contract suite over a store that pulls from Debian's docker-registry. */
import { test } from "bun:test";
import { runImageStoreSuite } from "../contract/image-store-suite.ts";
import { openOciStore } from "./oci-store-harness.ts";
import { missingImageTools, pushBusyboxImage, startRegistry } from "./registry.ts";

const missing = missingImageTools();

if (missing.length > 0 && process.env["CI"] !== "true") {
  console.log(`skipped: images from a real registry need ${missing.join(", ")}`);
  test.skip("image store contract: oci", () => {});
} else {
  runImageStoreSuite("oci", async () => {
    const registry = await startRegistry();
    const harness = await openOciStore({ attemptsMax: 2 });
    return {
      store: harness.store,
      publish: (name, config) => pushBusyboxImage(registry, name, "1", config),
      missingReference: () => `${registry.host}/suite/missing:1`,
      cutSource: () => registry.stop(),
      reopen: async () => harness.reopen(),
      dispose: async () => {
        await registry.stop();
        await harness.dispose();
      },
    };
  });
}
