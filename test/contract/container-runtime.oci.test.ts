import { setDefaultTimeout } from "bun:test";
import { canRun, containerPrograms, ociPrograms } from "../integration/machine-needs.ts";
import { makeOciRig } from "../integration/oci-rig.ts";
import { runContainerRuntimeSuite, shellArgs } from "./container-runtime-suite.ts";
import { runContainerStreamsSuite } from "./container-streams-suite.ts";

// A gVisor sandbox takes hundreds of milliseconds to begin and to end.
setDefaultTimeout(30_000);

const setup = (runtimePath: string) => async () => {
  const rig = makeOciRig({ runtimePath });
  const runtime = rig.open();
  return {
    runtime,
    argsOf: shellArgs,
    layers: [rig.layer],
    ignoresTerm: async (id: string) => {
      const options = { follow: true, signal: new AbortController().signal };
      for await (const { text } of runtime.logs(id, options)) if (text === "ignoring") return;
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
};

for (const program of ociPrograms()) {
  const name = `oci, ${program}`;
  if (!canRun(`container runtime contract: ${name}`, [...containerPrograms, program])) continue;
  runContainerRuntimeSuite(name, setup(program));
  runContainerStreamsSuite(name, setup(program), { hasTree: true });
}
