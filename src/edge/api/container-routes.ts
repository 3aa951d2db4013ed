/** Single containers of a deployment: joining their programs, copying in and out, and what all of them use. */
import * as v from "valibot";
import type { BunRequest } from "bun";
import { ProblemError } from "../../model/problem.ts";
import type { ContainerApi, ContainerChoice } from "../../node/node-api.ts";
import { closedObject } from "../manifest/check.ts";
import { attachSchema, checked, checkedJson, nameSchema, promisesQuery, queryCount } from "./bodies.ts";
import { found, text } from "./body-values.ts";
import { ExecSocket } from "./exec-socket.ts";
import { abortWith, type Answer, keyOf, queryOf, upgraded, valueOf } from "./requests.ts";
import { bytesResponse } from "./streams.ts";

type KeyRequest = BunRequest<string>;

const choiceEntries = { replica: v.optional(queryCount), container: v.optional(nameSchema) };
export const restartQuery = closedObject({ replica: queryCount, container: v.optional(nameSchema) });
export const attachQuery = closedObject(choiceEntries);
export const filesQuery = closedObject({
  ...choiceEntries,
  path: v.pipe(text, v.startsWith("/", found("an absolute path")), v.maxLength(4_096)),
});

const archiveType = "application/x-tar";

export function containerRoutes(containers: ContainerApi, answer: Answer) {
  return {
    "/v1/usage": {
      GET: answer(async (request) =>
        Response.json(await containers.usage(checked(promisesQuery, queryOf(request), "query").scope)),
      ),
    },
    "/v1/deployments/:namespace/:name/attach": {
      GET: answer((request: KeyRequest, server) => {
        const choice = choiceOf(checked(attachQuery, queryOf(request), "query"));
        const key = keyOf(request);
        const begin = async (json: string) =>
          containers.attach(key, choice, checkedJson(attachSchema, json).terminal);
        return upgraded(server, request, new ExecSocket(begin));
      }),
    },
    "/v1/deployments/:namespace/:name/restart": {
      POST: answer(async (request: KeyRequest) => {
        const { replica, container } = checked(restartQuery, queryOf(request), "query");
        valueOf(await containers.restart(keyOf(request), replica, container));
        return Response.json({});
      }),
    },
    "/v1/deployments/:namespace/:name/files": {
      GET: answer(async (request: KeyRequest, server) => {
        const { path, ...choice } = checked(filesQuery, queryOf(request), "query");
        const archive = valueOf(await containers.copyOut(keyOf(request), choiceOf(choice), path));
        return bytesResponse(archive, abortWith(request, server), archiveType);
      }),
      PUT: answer(async (request: KeyRequest, server) => {
        const { path, ...choice } = checked(filesQuery, queryOf(request), "query");
        const key = keyOf(request);
        if (request.body === null)
          throw new ProblemError({ code: "invalid-request", message: "the body is to be a tar archive" });
        abortWith(request, server);
        const copy = { path, archive: request.body };
        valueOf(await containers.copyIn(key, choiceOf(choice), copy));
        return Response.json({});
      }),
    },
  };
}

function choiceOf({
  replica,
  container,
}: {
  readonly replica?: number | undefined;
  readonly container?: string | undefined;
}): ContainerChoice {
  return {
    ...(replica === undefined ? {} : { replica }),
    ...(container === undefined ? {} : { container }),
  };
}
