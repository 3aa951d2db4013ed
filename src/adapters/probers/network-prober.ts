/** Probes over the machine's network. Certificates are not checked: a probe asks for health, not for identity. */
import { connect } from "node:net";
import type { NetworkAction, ProbeAnswer, Prober } from "../../ports/prober.ts";

/** Of one address. `isRefused`: nobody listens there, so another address may answer. */
interface Attempt extends ProbeAnswer {
  readonly isRefused?: boolean;
}

type Ask = (address: string, signal: AbortSignal) => Promise<Attempt>;

export class NetworkProber implements Prober {
  async probe(
    action: NetworkAction,
    addresses: readonly string[],
    signal: AbortSignal,
  ): Promise<ProbeAnswer> {
    const ask = askOf(action);
    let last: ProbeAnswer = { isWell: false, detail: "the replica has no address" };
    for (const address of addresses) {
      const attempt = await withinSignal(ask(address, signal), signal);
      last = { isWell: attempt.isWell, detail: attempt.detail };
      if (attempt.isRefused !== true) break;
    }
    return last;
  }
}

function askOf(action: NetworkAction): Ask {
  switch (action.kind) {
    case "http":
      return (address, signal) => askHttp(action, address, signal);
    case "tcp":
      return (address, signal) => askTcp(action.port, address, signal);
    case "grpc":
      return async (address, signal) => {
        // Most nodes never need it, and HTTP/2 is no small part of the program.
        const { askGrpcHealth } = await import("./grpc-health.ts");
        return askGrpcHealth(action, address, signal);
      };
  }
}

/** Whatever an attempt waits for: the signal ends it. */
function withinSignal(attempt: Promise<Attempt>, signal: AbortSignal): Promise<Attempt> {
  const timedOut: Attempt = { isWell: false, detail: "no answer in time" };
  return new Promise((resolve) => {
    const give = (): void => resolve(timedOut);
    if (signal.aborted) give();
    signal.addEventListener("abort", give, { once: true });
    void attempt
      .catch((error: unknown) => (signal.aborted ? timedOut : failureOf(error)))
      .then(resolve)
      .finally(() => signal.removeEventListener("abort", give));
  });
}

async function askHttp(
  { port, path, scheme, headers }: Extract<NetworkAction, { readonly kind: "http" }>,
  address: string,
  signal: AbortSignal,
): Promise<Attempt> {
  const response = await fetch(`${scheme}://${hostOf(address)}:${port}${path}`, {
    headers: { "user-agent": "muster-probe", connection: "close", ...headers },
    redirect: "manual",
    keepalive: false,
    tls: { rejectUnauthorized: false },
    signal,
  });
  await response.body?.cancel();
  const { status } = response;
  return { isWell: status >= 200 && status < 400, detail: `HTTP ${status}` };
}

function askTcp(port: number, address: string, signal: AbortSignal): Promise<Attempt> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const end = (attempt: Attempt): void => {
      signal.removeEventListener("abort", abort);
      socket.destroy();
      resolve(attempt);
    };
    const abort = (): void => end({ isWell: false, detail: "no answer in time" });
    socket.once("connect", () => end({ isWell: true, detail: "connected" }));
    socket.once("error", (error) => end(failureOf(error)));
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
  });
}

const refusals: ReadonlySet<unknown> = new Set(["ECONNREFUSED", "ConnectionRefused"]);

function failureOf(error: unknown): Attempt {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (refusals.has(code)) return { isWell: false, detail: "connection refused", isRefused: true };
  const words = error instanceof Error ? error.message : String(error);
  return { isWell: false, detail: words.split("\n")[0] ?? "" };
}

function hostOf(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}
