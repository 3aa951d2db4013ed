/** What every prober promises. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { NetworkAction, Prober } from "../../src/ports/prober.ts";

/** Programs that listen, at ports of one address. */
export interface ProberBench {
  readonly prober: Prober;
  readonly address: string;
  readonly ports: {
    /** Answers `/fine` with 204, `/elsewhere` with 302, and anything else with 503. */
    readonly http: number;
    /** Accepts connections and says nothing. */
    readonly silent: number;
    /** Nobody listens. */
    readonly closed: number;
    /** Health of gRPC: the empty service and `fine` serve, `ill` does not, others are unknown. */
    readonly grpc: number;
  };
  dispose(): Promise<void>;
}

export function http(port: number, path: string): NetworkAction {
  return { kind: "http", port, path, scheme: "http", headers: {} };
}

export function runProberSuite(name: string, open: () => Promise<ProberBench>): void {
  describe(`prober: ${name}`, () => {
    let bench: ProberBench;
    beforeEach(async () => {
      bench = await open();
    });
    afterEach(() => bench.dispose());

    const ask = async (action: NetworkAction): Promise<boolean> => {
      const answer = await bench.prober.probe(action, [bench.address], AbortSignal.timeout(2_000));
      expect(answer.detail).not.toBe("");
      return answer.isWell;
    };

    test("http: success and redirection are well, and are not followed", async () => {
      expect(await ask(http(bench.ports.http, "/fine"))).toBe(true);
      expect(await ask(http(bench.ports.http, "/elsewhere"))).toBe(true);
      expect(await ask(http(bench.ports.http, "/broken"))).toBe(false);
      expect(await ask(http(bench.ports.closed, "/fine"))).toBe(false);
    });

    test("tcp: who accepts a connection is well", async () => {
      expect(await ask({ kind: "tcp", port: bench.ports.silent })).toBe(true);
      expect(await ask({ kind: "tcp", port: bench.ports.closed })).toBe(false);
    });

    test("grpc: who serves is well", async () => {
      const { closed, grpc } = bench.ports;
      expect(await ask({ kind: "grpc", port: grpc, service: "" })).toBe(true);
      expect(await ask({ kind: "grpc", port: grpc, service: "fine" })).toBe(true);
      expect(await ask({ kind: "grpc", port: grpc, service: "ill" })).toBe(false);
      expect(await ask({ kind: "grpc", port: grpc, service: "stranger" })).toBe(false);
      expect(await ask({ kind: "grpc", port: closed, service: "" })).toBe(false);
    });

    test("the signal ends it", async () => {
      const abort = new AbortController();
      const answer = bench.prober.probe(http(bench.ports.silent, "/"), [bench.address], abort.signal);
      abort.abort();
      expect((await answer).isWell).toBe(false);
    });

    test("without an address nobody is well", async () => {
      const action: NetworkAction = { kind: "tcp", port: bench.ports.silent };
      expect((await bench.prober.probe(action, [], AbortSignal.timeout(2_000))).isWell).toBe(false);
    });
  });
}
