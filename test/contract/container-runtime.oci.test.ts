import { canRun, containerPrograms } from "../integration/machine-needs.ts";
import { makeOciRig } from "../integration/oci-rig.ts";
import { runContainerRuntimeSuite, shellArgs } from "./container-runtime-suite.ts";
import { runContainerStreamsSuite } from "./container-streams-suite.ts";

const setup = async () => {
  const rig = makeOciRig();
  const runtime = rig.open();
  return {
    runtime,
    argsOf: shellArgs,
    layers: [rig.layer],
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

if (canRun("container runtime contract: oci", containerPrograms)) {
  runContainerRuntimeSuite("oci", setup);
  runContainerStreamsSuite("oci", setup, { hasTree: true });
}
