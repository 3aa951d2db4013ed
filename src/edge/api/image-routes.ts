/** The images of the answering node. References have slashes and colons, so they are in the query or the body. */
import * as v from "valibot";
import type { ImagesApi } from "../../node/node-images.ts";
import { closedObject } from "../manifest/check.ts";
import { flag, found, text, texts } from "./body-values.ts";
import { checked, checkedJson } from "./bodies.ts";
import { abortWith, type Answer, bodyOf, queryOf, refuseQuery } from "./requests.ts";
import { bytesResponse, linesResponse } from "./streams.ts";

export const referenceQuery = closedObject({ reference: text });
export const pullSchema = closedObject({
  reference: text,
  pull: v.optional(v.picklist(["missing", "always", "never"], found("missing, always or never")), "missing"),
});
const absolutePath = v.pipe(text, v.startsWith("/", "expected an absolute path on the node's machine"));
export const loadSchema = closedObject({ path: absolutePath, name: v.optional(text) });
export const saveSchema = closedObject({
  references: v.pipe(texts, v.minLength(1, "expected an image")),
});
export const pushSchema = closedObject({ reference: text, destination: v.optional(text) });
export const pruneSchema = closedObject({ all: v.optional(flag, false) });

export function imageRoutes(images: ImagesApi, answer: Answer) {
  return {
    "/v1/images": {
      GET: answer(async (request) => {
        refuseQuery(request);
        return Response.json(await images.list());
      }),
      DELETE: answer(async (request) => {
        const { reference } = checked(referenceQuery, queryOf(request), "query");
        return Response.json(await images.remove(reference));
      }),
    },
    "/v1/images/details": {
      GET: answer(async (request) => {
        const { reference } = checked(referenceQuery, queryOf(request), "query");
        return Response.json(await images.inspect(reference));
      }),
    },
    "/v1/images/pull": {
      POST: answer(async (request, server) => {
        const { reference, pull } = checkedJson(pullSchema, await bodyOf(request));
        return linesResponse(images.pull(reference, { pull }), abortWith(request, server));
      }),
    },
    "/v1/images/load": {
      POST: answer(async (request, server) => {
        const { path, name } = checkedJson(loadSchema, await bodyOf(request));
        const events = images.load(path, name === undefined ? {} : { name });
        return linesResponse(events, abortWith(request, server));
      }),
    },
    "/v1/images/save": {
      POST: answer(async (request, server) => {
        const { references } = checkedJson(saveSchema, await bodyOf(request));
        return bytesResponse(images.save(references), abortWith(request, server), "application/x-tar");
      }),
    },
    "/v1/images/push": {
      POST: answer(async (request, server) => {
        const { reference, destination = reference } = checkedJson(pushSchema, await bodyOf(request));
        return linesResponse(images.push(reference, destination), abortWith(request, server));
      }),
    },
    "/v1/images/prune": {
      POST: answer(async (request) => {
        const { all } = checkedJson(pruneSchema, await bodyOf(request));
        return Response.json(await images.prune({ all }));
      }),
    },
  };
}
