import { MemoryFabric, MemoryNetwork } from "../../src/adapters/fabrics/memory-fabric.ts";
import { runFabricSuite } from "./fabric-suite.ts";

runFabricSuite("memory", async () => {
  const network = new MemoryNetwork();
  return {
    fabric: new MemoryFabric({ network }),
    reopen: async () => new MemoryFabric({ network }),
    occupy: async (port, protocol) => {
      network.foreignPorts.set(`${port}/${protocol}`, "another program");
      return async () => {
        network.foreignPorts.delete(`${port}/${protocol}`);
      };
    },
    dispose: async () => {},
  };
});
