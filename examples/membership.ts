/**
 * The smallest complete driver of the membership machine: datagrams over UDP, full state and stream probes over
 * HTTP, on loopback and without any security. The node's own driver is src/node/fleet.ts.
 *
 * Three terminals: bun examples/membership.ts 7001; bun examples/membership.ts 7002 7001; bun examples/membership.ts 7003 7001
 */
import { MembershipMachine } from "../src/core/membership/machine.ts";
import { membershipDefaults } from "../src/core/membership/options.ts";
import type {
  FullState,
  MembershipEffect,
  MembershipEvent,
  MembershipInput,
  StreamProbeOutcome,
} from "../src/core/membership/protocol.ts";
import { createRng } from "../src/core/rng.ts";
import { decodeAs, encode } from "../src/wire/codec.ts";
import { fullStateSchema, membershipMessageSchema } from "../src/wire/membership.ts";

export interface ExampleNode {
  readonly machine: MembershipMachine;
  readonly address: string;
  join(address: string): void;
  /** Stops without a goodbye. */
  stop(): Promise<void>;
}

export async function startNode(
  port: number,
  listen: (event: MembershipEvent) => void,
): Promise<ExampleNode> {
  const replies = new Map<number, (state: FullState) => void>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isStopped = false;
  let requests = 0;

  const server = Bun.serve({
    hostname: "127.0.0.1",
    port,
    fetch: async (request) => {
      if (request.method === "GET") return new Response("alive");
      const state = decodeAs(fullStateSchema, new Uint8Array(await request.arrayBuffer()));
      const requestId = ++requests;
      const answer = await new Promise<FullState>((resolve) => {
        replies.set(requestId, resolve);
        feed({ kind: "push-pull-request", requestId, state });
      });
      return new Response(encode(answer));
    },
  });
  const address = `127.0.0.1:${server.port}`;
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    port: server.port ?? port,
    socket: {
      data: (_socket, payload, fromPort, fromHost) => {
        const message = decodeAs(membershipMessageSchema, new Uint8Array(payload));
        feed({ kind: "datagram", from: `${fromHost}:${fromPort}`, message });
      },
      // What the kernel says of datagrams that nobody took; without a handler it ends the process.
      error: () => {},
    },
  });
  const machine = new MembershipMachine(
    {
      id: new Bun.CryptoHasher("sha256").update(address).digest("hex").slice(0, 32),
      name: `node-${server.port}`,
      addresses: [address],
      meta: { freeCpuMillis: 1000, freeMemoryBytes: 1_000_000_000, protocolVersions: [1, 1] },
      rng: createRng(server.port ?? 0),
    },
    membershipDefaults,
  );

  function feed(input: MembershipInput): void {
    if (isStopped) return;
    for (const effect of machine.step(input, performance.now())) void carryOut(effect);
    clearTimeout(timer);
    const deadline = machine.deadline();
    if (deadline === undefined) return;
    timer = setTimeout(() => feed({ kind: "timeout" }), Math.max(0, deadline - performance.now()));
  }

  async function carryOut(effect: MembershipEffect): Promise<void> {
    switch (effect.kind) {
      case "send": {
        const [host = "", toPort = ""] = effect.to.split(":");
        try {
          socket.send(encode(effect.message), Number(toPort), host);
        } catch {
          // The kernel reports an earlier datagram that nobody took; datagrams are best effort.
        }
        return;
      }
      case "push-pull": {
        // A failed exchange needs no report: the machine tries again by itself.
        const answer = await fetch(`http://${effect.to}/`, {
          method: "POST",
          body: encode(effect.state),
        }).catch(() => null);
        if (answer === null || !answer.ok) return;
        const state = decodeAs(fullStateSchema, new Uint8Array(await answer.arrayBuffer()));
        return feed({ kind: "push-pull-response", state });
      }
      case "push-pull-reply":
        replies.get(effect.requestId)?.(effect.state);
        replies.delete(effect.requestId);
        return;
      case "stream-probe": {
        const report = (outcome: StreamProbeOutcome): void =>
          feed({ kind: "stream-probe-result", member: effect.member, outcome });
        const [hostname = "", toPort = ""] = (effect.addresses[0] ?? "").split(":");
        await Bun.connect({
          hostname,
          port: Number(toPort),
          socket: {
            // The kernel takes connections for a frozen process too; only an answer shows that the agent runs.
            open: (stream) => {
              report("accepted");
              stream.write("GET / HTTP/1.0\r\n\r\n");
              setTimeout(() => stream.end(), effect.timeoutMs);
            },
            data: (stream) => {
              report("answered");
              stream.end();
            },
          },
        }).catch(() => report("refused"));
        return;
      }
      case "event":
        return listen(effect.event);
    }
  }

  feed({ kind: "start" });
  return {
    machine,
    address,
    join: (other) => feed({ kind: "join", addresses: [other] }),
    stop: async () => {
      isStopped = true;
      clearTimeout(timer);
      socket.close();
      await server.stop(true);
    },
  };
}

if (import.meta.main) {
  const [port, ...others] = process.argv.slice(2);
  const node = await startNode(Number(port), (event) => console.log(JSON.stringify(event)));
  for (const other of others) node.join(`127.0.0.1:${other}`);
}
