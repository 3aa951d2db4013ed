/** Writes the tables of docs/guide/spec.md anew: `bun scripts/spec-page.ts`. */
import { join } from "node:path";
import { withReference } from "../src/edge/manifest/reference.ts";

const path = join(import.meta.dir, "..", "docs/guide/spec.md");
const page = await Bun.file(path).text();
await Bun.write(path, withReference(page));
