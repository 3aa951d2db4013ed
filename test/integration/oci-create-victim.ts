/** Creates a container and says so; meant to be killed at any moment. Arguments: options, layer, id, and what else its specification says. */
import { OciRuntime, type OciRuntimeOptions } from "../../src/adapters/runtimes/oci/oci-runtime.ts";
import { SystemClock } from "../../src/adapters/system/system-clock.ts";
import type { ContainerSpec } from "../../src/ports/container-runtime.ts";
import { silentLogger } from "./oci-rig.ts";

const [options = "{}", layer = "", id = "", changes = "{}"] = process.argv.slice(2);
const parsed: OciRuntimeOptions = JSON.parse(options);
const others: Partial<ContainerSpec> = JSON.parse(changes);
const runtime = new OciRuntime({ clock: new SystemClock(), log: silentLogger }, parsed);
await runtime.list();
console.log("ready");
await runtime.create({
  id,
  labels: {},
  layers: [layer],
  args: ["/bin/sleep", "100000"],
  env: [],
  workingDirectory: "/",
  user: "",
  hostname: "victim",
  cpuMillis: 0,
  memoryBytes: 0,
  ...others,
});
await runtime.start(id);
// Only a kill ends it, so that the parent never meets a process that ended by itself.
setInterval(() => {}, 60_000);
