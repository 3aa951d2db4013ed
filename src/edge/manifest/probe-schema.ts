/** Probes and hooks as a manifest writes them. Defaults are those of Kubernetes. */
import * as v from "valibot";
import { ok, refused, type Outcome } from "../../model/outcome.ts";
import type { Probe, ProbeAction, StopHook } from "../../model/probe.ts";
import { closedObject } from "./check.ts";
import { parseHttpTarget, parseThreshold } from "./container-values.ts";
import { headerNamePattern, httpPathPattern, parsePortNumber, spanMsMax } from "./fields.ts";
import { parseSpan } from "./quantity.ts";
import { choice, field, listOf, namedTexts, parsedText, shortOrLong, textOf } from "./text-schemas.ts";

const program = v.pipe(
  listOf("a list of texts such as [cat, /tmp/ready]", textOf("text")),
  v.minLength(1, "expected a command, found an empty list"),
);

const port = field(parsedText("a port number", parsePortNumber), {
  type: "port number",
  meaning: "The port of the replica's own network that is asked.",
  example: "8080",
});

const spanSchema = v.pipe(
  parsedText("a span of time such as 10s", parseSpan),
  v.maxValue(spanMsMax, "longer than a day"),
);
const periodSchema = v.pipe(spanSchema, v.minValue(1, "must be longer than nothing"));

type Http = Extract<ProbeAction, { readonly kind: "http" }>;
type Grpc = Extract<ProbeAction, { readonly kind: "grpc" }>;

function parseHttp(text: string): Outcome<Http, string> {
  const target = parseHttpTarget(text);
  if (!target.ok) return target;
  const number = parsePortNumber(target.value.port);
  if (!number.ok) return refused("has a port that is not between 1 and 65535");
  return ok({ kind: "http", port: number.value, path: target.value.path, scheme: "http", headers: {} });
}

const httpSchema = shortOrLong(
  parsedText("PORT[/PATH]", parseHttp),
  v.pipe(
    closedObject({
      port,
      path: v.optional(
        field(v.pipe(textOf("a path"), v.regex(httpPathPattern, "expected a path such as /healthz")), {
          type: "text",
          meaning: "What is asked for, beginning with a slash.",
          example: "/healthz",
        }),
        "/",
      ),
      scheme: v.optional(
        field(choice(["http", "https"]), {
          type: "http or https",
          meaning: "With https any certificate is taken.",
          example: "https",
        }),
        "http",
      ),
      headers: v.optional(
        field(
          v.pipe(
            namedTexts({ what: "header", pattern: headerNamePattern }),
            v.check(
              (headers) => Object.values(headers).every((value) => !/[\r\n]/.test(value)),
              "a header's value must be one line",
            ),
          ),
          {
            type: "map, or list of NAME=value",
            meaning: "Headers of the request.",
            example: "{Host: example.com}",
          },
        ),
        {},
      ),
    }),
    v.transform(({ port, path, scheme, headers }): Http => ({ kind: "http", port, path, scheme, headers })),
  ),
);

const grpcSchema = shortOrLong(
  v.pipe(
    parsedText("a port number", parsePortNumber),
    v.transform((port): Grpc => ({ kind: "grpc", port, service: "" })),
  ),
  v.pipe(
    closedObject({
      port,
      service: v.optional(
        field(textOf("text", 1_024), {
          type: "text",
          meaning: "The service that is asked about; empty asks about the whole server.",
          example: "shop.Orders",
        }),
        "",
      ),
    }),
    v.transform(({ port, service }): Grpc => ({ kind: "grpc", port, service })),
  ),
);

const hookActions = {
  exec: v.optional(
    field(program, {
      type: "list of texts",
      meaning: "A command run inside the container; exit code 0 is success.",
      example: "[cat, /tmp/ready]",
    }),
  ),
  http: v.optional(
    field(httpSchema, {
      type: "PORT[/PATH], or map",
      meaning: "A GET to the replica's address; a status from 200 to 399 is success.",
      example: "8080/healthz",
    }),
  ),
};

const probeActions = {
  ...hookActions,
  tcp: v.optional(
    field(parsedText("a port number", parsePortNumber), {
      type: "port number",
      meaning: "A connection to the replica's address; success when it is accepted.",
      example: "5432",
    }),
  ),
  grpc: v.optional(
    field(grpcSchema, {
      type: "port number, or map",
      meaning: "The gRPC health checking protocol; `SERVING` is success.",
      example: "9000",
    }),
  ),
};

/** The action that is given, when it is exactly one. */
function onlyAction(given: {
  readonly exec?: readonly string[] | undefined;
  readonly http?: Http | undefined;
  readonly tcp?: number | undefined;
  readonly grpc?: Grpc | undefined;
}): Outcome<ProbeAction, string> {
  const actions: ProbeAction[] = [];
  if (given.exec !== undefined) actions.push({ kind: "exec", command: given.exec });
  if (given.http !== undefined) actions.push(given.http);
  if (given.tcp !== undefined) actions.push({ kind: "tcp", port: given.tcp });
  if (given.grpc !== undefined) actions.push(given.grpc);
  const [action, second] = actions;
  if (action === undefined) return refused("says nothing to do");
  return second === undefined ? ok(action) : refused(`has ${action.kind} and ${second.kind}; one is meant`);
}

const probeSchema = v.pipe(
  closedObject({
    ...probeActions,
    initialDelay: v.optional(
      field(spanSchema, {
        type: "span of time",
        meaning: "How long after the container's start the first one is made.",
        example: "5s",
      }),
      "0s",
    ),
    period: v.optional(
      field(periodSchema, { type: "span of time", meaning: "How often it is made.", example: "5s" }),
      "10s",
    ),
    timeout: v.optional(
      field(periodSchema, {
        type: "span of time",
        meaning: "An answer that takes longer is a failure; not longer than the period.",
        example: "500ms",
      }),
      "1s",
    ),
    successThreshold: v.optional(
      field(parsedText("a whole number", parseThreshold), {
        type: "whole number",
        meaning: "Successes in a row that make it well again; only readiness may have more than 1.",
        example: "1",
      }),
      "1",
    ),
    failureThreshold: v.optional(
      field(parsedText("a whole number", parseThreshold), {
        type: "whole number",
        meaning: "Failures in a row that make it failed.",
        example: "5",
      }),
      "3",
    ),
  }),
  v.rawTransform(({ dataset, addIssue, NEVER }): Probe => {
    const { initialDelay, period, timeout, successThreshold, failureThreshold } = dataset.value;
    const action = onlyAction(dataset.value);
    if (!action.ok) {
      addIssue({ message: `${action.error}: name one of exec, http, tcp and grpc` });
      return NEVER;
    }
    return {
      action: action.value,
      initialDelayMs: initialDelay,
      periodMs: period,
      timeoutMs: timeout,
      successThreshold,
      failureThreshold,
    };
  }),
);

export const probesSchema = v.pipe(
  closedObject({
    startup: v.optional(
      field(probeSchema, {
        type: "probe",
        meaning:
          "Asked first, until it has succeeded once; only then do the others begin. When it fails, the container is killed and started again as `restart` says.",
        example: "{http: 8080/healthz, failureThreshold: 30, period: 1s}",
        absent: "the others begin at once",
      }),
    ),
    readiness: v.optional(
      field(probeSchema, {
        type: "probe",
        meaning: "While it fails the replica does not count as running: updates wait for it.",
        example: "{http: 8080/ready, period: 2s}",
        absent: "ready when it runs",
      }),
    ),
    liveness: v.optional(
      field(probeSchema, {
        type: "probe",
        meaning: "When it fails, the container is killed and started again as `restart` says.",
        example: "{tcp: 5432}",
        absent: "well while it runs",
      }),
    ),
  }),
  v.transform(({ startup, readiness, liveness }) => ({
    ...(startup === undefined ? {} : { startup }),
    ...(readiness === undefined ? {} : { readiness }),
    ...(liveness === undefined ? {} : { liveness }),
  })),
);

export const stopHookSchema = v.pipe(
  closedObject(hookActions),
  v.rawTransform(({ dataset, addIssue, NEVER }): StopHook => {
    const { exec, http } = dataset.value;
    if (exec !== undefined && http === undefined) return { kind: "exec", command: exec };
    if (http !== undefined && exec === undefined) return http;
    addIssue({
      message:
        exec === undefined ? "says nothing to do: name exec or http" : "has exec and http; one is meant",
    });
    return NEVER;
  }),
);
