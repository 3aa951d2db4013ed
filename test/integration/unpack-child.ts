/** What the compiled binary does for `internal-unpack`, run from source. */
import { unpackMain } from "../../src/adapters/images/oci/unpack.ts";

process.exitCode = await unpackMain(process.argv.slice(2));
