import { MemoryProber } from "../../src/adapters/probers/memory-prober.ts";
import type { NetworkAction } from "../../src/ports/prober.ts";
import { runProberSuite } from "./prober-suite.ts";

const ports = { http: 80, silent: 81, closed: 82, grpc: 83 };

function isWell(action: NetworkAction, address: string | undefined): boolean {
  if (address === undefined || action.port === ports.closed) return false;
  if (action.kind === "http") return action.path === "/fine" || action.path === "/elsewhere";
  return action.kind === "tcp" || action.service === "" || action.service === "fine";
}

runProberSuite("memory", async () => ({
  prober: new MemoryProber((action, [address]) => ({ isWell: isWell(action, address), detail: "played" })),
  address: "memory",
  ports,
  dispose: async () => {},
}));
