/** How a machine that is no member yet asks one to let it in. */
import { createHash, X509Certificate } from "node:crypto";
import type { Address } from "../../ports/transport.ts";
import type { Connection } from "./connection.ts";
import { dial } from "./dial.ts";
import { FrameError, decodeText, frameTypes, type Message } from "./frames.ts";
import { FleetRoot } from "./peer-check.ts";

/** `unreachable`: nobody answers; `wrong-fleet`: whoever answers is not of the fleet invited to, and was told nothing; `refused`: a member said no. */
export class JoinDialError extends Error {
  override readonly name = "JoinDialError";
  readonly code: "unreachable" | "wrong-fleet" | "refused";
  constructor(code: "unreachable" | "wrong-fleet" | "refused", message: string) {
    super(message);
    this.code = code;
  }
}

export interface JoinDialOptions {
  /** SHA-256 of the fleet's root certificate (DER), 64 hex digits. */
  readonly fingerprint: string;
  /** Bytes to send once the other end has proved to be of that fleet. */
  readonly request: Uint8Array;
  readonly timeoutMs: number;
}

const answerBytesMax = 1024 * 1024;

/** The member's answer. Rejects with JoinDialError. */
export function askToJoin(address: Address, options: JoinDialOptions): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let certificate: X509Certificate | undefined;
    let connection: Connection | undefined;
    const end = (act: () => void): void => {
      clearTimeout(timer);
      cancel();
      act();
      connection?.close("done");
    };
    const fail = (code: JoinDialError["code"], message: string): void =>
      end(() => reject(new JoinDialError(code, message)));
    const timer = setTimeout(
      () => fail("unreachable", `no answer within ${options.timeoutMs} ms`),
      options.timeoutMs,
    );
    const receive = (message: Message): void => {
      switch (message.type) {
        case frameTypes.root: {
          const fault = faultOf(decodeText(message.body), certificate, options.fingerprint);
          if (fault === undefined) connection?.send("urgent", frameTypes.join, 0, options.request);
          else fail("wrong-fleet", fault);
          return;
        }
        case frameTypes.joined:
          end(() => resolve(message.body));
          return;
        case frameTypes.refuse:
          fail("refused", decodeText(message.body));
          return;
        default:
          throw new FrameError(`type ${message.type} to a guest`);
      }
    };
    const cancel = dial(
      {
        address,
        tls: { rejectUnauthorized: false },
        fault: (shown) => {
          certificate = shown;
          return undefined;
        },
        helloMs: options.timeoutMs,
        expectsHello: false,
        messageBytesMax: answerBytesMax,
      },
      {
        connected: (made) => {
          connection = made;
          made.become(
            {
              message: receive,
              silent: () => undefined,
              awake: () => undefined,
              closed: (reason) => fail("unreachable", reason),
            },
            answerBytesMax,
          );
        },
        failed: ({ kind, detail }) =>
          fail("unreachable", kind === "refused" ? `refused (${detail})` : detail),
      },
    );
  });
}

/** The root must be the pinned one, and the key that TLS proved must be certified by it. */
function faultOf(
  rootPem: string,
  certificate: X509Certificate | undefined,
  fingerprint: string,
): string | undefined {
  let root: X509Certificate;
  try {
    root = new X509Certificate(rootPem);
  } catch {
    return "it shows no readable root certificate";
  }
  if (createHash("sha256").update(root.raw).digest("hex") !== fingerprint)
    return "it belongs to another fleet";
  if (certificate === undefined) return "it shows no certificate";
  const verdict = new FleetRoot(rootPem).memberOf(certificate, Date.now());
  return "fault" in verdict ? verdict.fault : undefined;
}
