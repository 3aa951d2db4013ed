/** How a container is asked whether it is well, and what is done before it is stopped. */

export type ProbeAction =
  /** Inside the container; exit code 0 is success. */
  | { readonly kind: "exec"; readonly command: readonly string[] }
  /** To the replica's address; a status from 200 to 399 is success. */
  | {
      readonly kind: "http";
      readonly port: number;
      readonly path: string;
      readonly scheme: "http" | "https";
      readonly headers: Readonly<Record<string, string>>;
    }
  /** A connection that is accepted is success. */
  | { readonly kind: "tcp"; readonly port: number }
  /** The gRPC health checking protocol; `SERVING` is success. */
  | { readonly kind: "grpc"; readonly port: number; readonly service: string };

export interface Probe {
  readonly action: ProbeAction;
  /** Since the container's start. */
  readonly initialDelayMs: number;
  readonly periodMs: number;
  readonly timeoutMs: number;
  /** In a row, to be taken for well again. */
  readonly successThreshold: number;
  /** In a row, to be taken for failed. */
  readonly failureThreshold: number;
}

/** The others wait until `startup` has succeeded once; without it they begin at once. */
export interface Probes {
  /** Failed: the container is killed, and its restart policy decides. */
  readonly startup?: Probe;
  /** Failed: the container gets no traffic. */
  readonly readiness?: Probe;
  /** Failed: the container is killed, and its restart policy decides. */
  readonly liveness?: Probe;
}

/** Runs before the stop signal; its time counts towards the stop timeout. */
export type StopHook = Extract<ProbeAction, { readonly kind: "exec" | "http" }>;
