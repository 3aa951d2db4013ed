import { readFileSync } from "node:fs";
import { canRun } from "../integration/machine-needs.ts";
import { makeProcessRig, processPrograms } from "../integration/process-rig.ts";
import { runContainerRuntimeSuite, shellArgs, type RuntimeHarness } from "./container-runtime-suite.ts";
import { runContainerStreamsSuite } from "./container-streams-suite.ts";
import { eventually } from "./eventually.ts";

const signalTermBit = 1n << 14n;

async function setup(): Promise<RuntimeHarness> {
  const rig = makeProcessRig();
  const runtime = rig.open();
  return {
    runtime,
    argsOf: shellArgs,
    layers: [],
    ignoresTerm: async (id) => {
      await eventually(`${id} ignores SIGTERM`, async () => {
        const pid = (await runtime.list()).find((status) => status.id === id)?.pid;
        const status = pid === undefined ? "" : readFileSync(`/proc/${pid}/status`, "utf8");
        const ignored = BigInt(`0x${/^SigIgn:\s*(\w+)$/m.exec(status)?.[1] ?? "0"}`);
        return (ignored & signalTermBit) === 0n ? undefined : true;
      });
    },
    reopen: async () => {
      await runtime.close();
      return rig.open();
    },
    dispose: async () => {
      await runtime.close();
      await rig.dispose();
    },
  };
}

if (canRun("container runtime contract: process", processPrograms)) {
  runContainerRuntimeSuite("process", setup);
  runContainerStreamsSuite("process", setup, { hasTree: false });
}
