/**
 * One call of the gRPC health checking protocol (grpc.health.v1.Health/Check) over HTTP/2 without TLS.
 * Its two messages have a field each, so they are read and written here by hand:
 * HealthCheckRequest { string service = 1; } and HealthCheckResponse { ServingStatus status = 1; }.
 */
import { connect } from "node:http2";
import type { NetworkAction, ProbeAnswer } from "../../ports/prober.ts";

const statusNames: readonly string[] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const serving = 1;
const messageBytesMax = 64;

export function askGrpcHealth(
  { port, service }: Extract<NetworkAction, { readonly kind: "grpc" }>,
  address: string,
  signal: AbortSignal,
): Promise<ProbeAnswer> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://${address.includes(":") ? `[${address}]` : address}:${port}`);
    const chunks: Buffer[] = [];
    let bytes = 0;
    let grpcStatus: string | undefined;
    const close = (): void => {
      signal.removeEventListener("abort", abort);
      session.destroy();
    };
    const abort = (): void => {
      close();
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) return abort();
    const fail = (error: Error): void => {
      close();
      reject(error);
    };
    session.once("error", fail);
    const stream = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Check",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const note = (headers: Readonly<Record<string, unknown>>): void => {
      const status = headers["grpc-status"];
      if (typeof status === "string") grpcStatus = status;
    };
    stream.on("response", note);
    stream.on("trailers", note);
    stream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      // A longer answer is not this message.
      if (bytes <= messageBytesMax) chunks.push(chunk);
    });
    stream.once("error", fail);
    stream.once("end", () => {
      close();
      resolve(answerOf(grpcStatus, Buffer.concat(chunks)));
    });
    stream.end(requestOf(service));
  });
}

/** Five bytes of gRPC framing (not compressed, length), then the message. */
function requestOf(service: string): Buffer {
  const name = Buffer.from(service);
  const message =
    name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a]), lengthOf(name), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** A protobuf varint. */
function lengthOf({ length }: Buffer): Buffer {
  const bytes: number[] = [];
  let rest = length;
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}

function answerOf(grpcStatus: string | undefined, body: Buffer): ProbeAnswer {
  if (grpcStatus !== undefined && grpcStatus !== "0")
    return { isWell: false, detail: `gRPC status ${grpcStatus}` };
  // An absent field is 0.
  const status = body.length >= 7 && body[5] === 0x08 ? (body[6] ?? 0) : 0;
  if (body.length < 5) return { isWell: false, detail: "no answer to the gRPC health check" };
  return { isWell: status === serving, detail: statusNames[status] ?? `status ${status}` };
}
