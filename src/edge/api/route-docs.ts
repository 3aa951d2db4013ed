/** What each route is for and what it takes and answers: the schemas are those that the routes themselves check with. */
import * as answers from "./answers.ts";
import * as bodies from "./bodies.ts";
import { attachQuery, filesQuery, restartQuery } from "./container-routes.ts";
import * as imageAnswers from "./image-answers.ts";
import * as images from "./image-routes.ts";

export interface RouteDoc {
  readonly summary: string;
  readonly query?: unknown;
  /** The schema of a JSON body, or the media type of another. */
  readonly body?: unknown;
  readonly headers?: readonly HeaderDoc[];
  readonly answer: AnswerDoc;
}

export interface HeaderDoc {
  readonly name: string;
  readonly description: string;
}

export type AnswerDoc =
  | { readonly kind: "json"; readonly status: 200 | 201; readonly schema: unknown }
  /** One value after the other; the schema is that of each. */
  | { readonly kind: "lines" | "events"; readonly schema: unknown }
  | { readonly kind: "bytes"; readonly type: string }
  | { readonly kind: "websocket" };

const json = (schema: unknown, status: 200 | 201 = 200): AnswerDoc => ({ kind: "json", status, schema });
const lines = (schema: unknown): AnswerDoc => ({ kind: "lines", schema });

const idempotent: HeaderDoc = {
  name: "Idempotency-Key",
  description:
    "1 to 64 printable ASCII characters; a request sent again with the same key changes nothing twice.",
};
const createOnly: HeaderDoc = {
  name: "If-None-Match",
  description: "`*` refuses with already-exists when the deployment is there.",
};
const resume: HeaderDoc = {
  name: "Last-Event-ID",
  description: "The last id a reader saw: events from that log index on come, that entry once more in full.",
};
const deployment = "/v1/deployments/:namespace/:name";
const archive = "application/x-tar";

/** By method and path, as the table of routes has them. */
export const routeDocs: Readonly<Record<string, RouteDoc>> = {
  "GET /metrics": {
    summary: "Counters and measures in Prometheus' text format",
    answer: { kind: "bytes", type: "text/plain" },
  },
  "GET /v1/openapi.json": { summary: "This document", answer: { kind: "bytes", type: "application/json" } },
  "GET /v1/status": { summary: "The answering node", answer: json(answers.statusAnswer) },
  "GET /v1/nodes": { summary: "All nodes of the fleet", answer: json(answers.nodesAnswer) },
  "POST /v1/invites": {
    summary: "A token with which machines join; at most 30 days",
    body: bodies.inviteSchema,
    answer: json(answers.inviteAnswer, 201),
  },
  "GET /v1/promises": {
    summary: "What nodes have promised, on every reachable one or this one",
    query: bodies.promisesQuery,
    answer: json(answers.promisesAnswer),
  },
  "GET /v1/usage": {
    summary: "What machines and containers use",
    query: bodies.promisesQuery,
    answer: json(answers.usageAnswer),
  },
  "POST /v1/down": {
    summary: "Leaves the fleet; with keep only the agent ends",
    body: bodies.downSchema,
    answer: json(answers.emptyAnswer),
  },
  "GET /v1/images": { summary: "The images of this node", answer: json(imageAnswers.imagesAnswer) },
  "DELETE /v1/images": {
    summary: "Takes a name from an image, and with its last name the image",
    query: images.referenceQuery,
    answer: json(imageAnswers.pruneAnswer),
  },
  "GET /v1/images/details": {
    summary: "One image in full",
    query: images.referenceQuery,
    answer: json(imageAnswers.imageAnswer),
  },
  "POST /v1/images/pull": {
    summary: "Brings an image from its registry",
    body: images.pullSchema,
    answer: lines(imageAnswers.imageEventAnswer),
  },
  "POST /v1/images/load": {
    summary: "Takes the images of an archive on this machine",
    body: images.loadSchema,
    answer: lines(imageAnswers.imageEventAnswer),
  },
  "POST /v1/images/save": {
    summary: "An archive of images",
    body: images.saveSchema,
    answer: { kind: "bytes", type: archive },
  },
  "POST /v1/images/push": {
    summary: "Sends an image to a registry",
    body: images.pushSchema,
    answer: lines(imageAnswers.imageEventAnswer),
  },
  "POST /v1/images/prune": {
    summary: "Removes images that no name leads to, or with all those that are not in use",
    body: images.pruneSchema,
    answer: json(imageAnswers.pruneAnswer),
  },
  "GET /v1/deployments": {
    summary: "Deployments, of one namespace or all",
    query: bodies.listQuery,
    answer: json(answers.deploymentsAnswer),
  },
  [`GET ${deployment}`]: { summary: "One deployment", answer: json(answers.deploymentAnswer) },
  [`PUT ${deployment}`]: {
    summary: "Declares it: creates it, or makes it so",
    body: bodies.specSchema,
    headers: [idempotent, createOnly],
    answer: json(answers.writeAnswer),
  },
  [`DELETE ${deployment}`]: {
    summary: "Ends it for good",
    headers: [idempotent],
    answer: json(answers.writeAnswer),
  },
  [`PUT ${deployment}/scale`]: {
    summary: "Changes the number of replicas",
    body: bodies.scaleSchema,
    headers: [idempotent],
    answer: json(answers.writeAnswer),
  },
  [`GET ${deployment}/cohort`]: {
    summary: "The nodes that keep it, and what they can lose",
    answer: json(answers.cohortAnswer),
  },
  [`GET ${deployment}/events`]: {
    summary: "Its history; with follow it goes on",
    query: bodies.eventsQuery,
    headers: [resume],
    answer: { kind: "events", schema: answers.eventAnswer },
  },
  [`GET ${deployment}/logs`]: {
    summary: "What its replicas wrote",
    query: bodies.logsQuery,
    answer: lines(answers.logLineAnswer),
  },
  [`GET ${deployment}/exec`]: {
    summary: "A command inside a replica, over a WebSocket",
    query: bodies.execQuery,
    answer: { kind: "websocket" },
  },
  [`POST ${deployment}/restart`]: {
    summary: "New runs of one replica's containers, in place",
    query: restartQuery,
    answer: json(answers.emptyAnswer),
  },
  [`GET ${deployment}/attach`]: {
    summary: "The program of a container, over a WebSocket",
    query: attachQuery,
    answer: { kind: "websocket" },
  },
  [`GET ${deployment}/files`]: {
    summary: "A file or directory of a container, as a tar archive",
    query: filesQuery,
    answer: { kind: "bytes", type: archive },
  },
  [`PUT ${deployment}/files`]: {
    summary: "Unpacks a tar archive in a container",
    query: filesQuery,
    body: archive,
    answer: json(answers.emptyAnswer),
  },
};
