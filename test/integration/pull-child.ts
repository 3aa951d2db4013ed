/** Pulls an image into a store, in a process that can be killed: `pull-child.ts ROOT REFERENCE`. */
import { openOciStore } from "./oci-store-harness.ts";

const [root = "", reference = ""] = process.argv.slice(2);
const { store } = await openOciStore({ root });
await store.ensure(reference, { signal: new AbortController().signal });
console.log("pulled");
