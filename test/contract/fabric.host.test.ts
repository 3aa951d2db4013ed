import { makeFabricRig } from "../integration/fabric-rig.ts";
import { canRun, networkPrograms } from "../integration/machine-needs.ts";
import { runFabricSuite } from "./fabric-suite.ts";

if (canRun("fabric contract: host", networkPrograms))
  runFabricSuite("host", async () => {
    const rig = await makeFabricRig();
    return {
      fabric: rig.fabric,
      reopen: async () => rig.open(),
      occupy: async (port, protocol) => {
        if (protocol === "udp") {
          const socket = await Bun.udpSocket({ hostname: "127.0.0.1", port });
          return async () => socket.close();
        }
        const server = Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => {} } });
        return async () => server.stop(true);
      },
      dispose: rig.dispose,
    };
  });
