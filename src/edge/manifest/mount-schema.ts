/** Mounts and files of a container as a manifest writes them. */
import * as v from "valibot";
import type { FileSpec, Mount } from "../../model/spec.ts";
import { closedObject } from "./check.ts";
import {
  contentLengthMax,
  parseFlag,
  parseMode,
  parseMount,
  parsePath,
  parseTarget,
  parseVolumeName,
} from "./container-values.ts";
import { parseSize } from "./quantity.ts";
import { field, listOf, parsedText, shortOrLong, textOf } from "./text-schemas.ts";

const longMount = v.pipe(
  closedObject({
    target: field(parsedText("an absolute path", parseTarget), {
      type: "absolute path",
      meaning: "Where it is seen inside. No target lies inside another one.",
      example: "/var/lib/data",
    }),
    volume: v.optional(
      field(parsedText("the name of a volume", parseVolumeName), {
        type: "name",
        meaning:
          "A directory that the node keeps under this name for the deployment. It outlives replicas, and stays on its node.",
        example: "data",
      }),
    ),
    bind: v.optional(
      field(parsedText("an absolute path", parsePath), {
        type: "absolute path",
        meaning: "A path of the machine itself, which must exist there.",
        example: "/srv/www",
      }),
    ),
    tmpfs: v.optional(
      field(parsedText("an amount of bytes such as 64Mi", parseSize), {
        type: "amount of bytes",
        meaning:
          "Memory, of at most this size; it counts towards the container's. 0 leaves the limit to the kernel: half of the machine's memory.",
        example: "64Mi",
      }),
    ),
    readOnly: v.optional(
      field(parsedText("true or false", parseFlag), {
        type: "true or false",
        meaning: "The container cannot write to it; not for tmpfs.",
        example: "true",
      }),
      "false",
    ),
  }),
  v.rawTransform(({ dataset, addIssue, NEVER }): Mount => {
    const { target, volume, bind, tmpfs, readOnly } = dataset.value;
    const given = Object.entries({ volume, bind, tmpfs }).filter(([, value]) => value !== undefined);
    if (given.length !== 1) {
      const names = given.map(([name]) => name).join(" and ");
      addIssue({
        message:
          names === ""
            ? "says not what to mount: name one of volume, bind and tmpfs"
            : `has ${names}; one is meant`,
      });
      return NEVER;
    }
    if (volume !== undefined) return { kind: "volume", volume, target, readOnly };
    if (bind !== undefined) return { kind: "bind", source: bind, target, readOnly };
    if (readOnly) addIssue({ message: "is memory that nobody could write to: leave readOnly out" });
    return { kind: "tmpfs", target, sizeBytes: tmpfs ?? 0 };
  }),
);

export const mountsSchema = listOf(
  "a list of mounts",
  shortOrLong(parsedText("a mount", parseMount), longMount),
);

const fileSchema = v.pipe(
  closedObject({
    path: field(parsedText("an absolute path", parseTarget), {
      type: "absolute path",
      meaning: "Where it stands inside; directories are made as needed. Not inside a mount.",
      example: "/etc/app.conf",
    }),
    content: field(textOf("text", contentLengthMax), {
      type: "text",
      meaning: "What is in it, as UTF-8; 128 Ki characters at most.",
      example: "listen 8080",
    }),
    mode: v.optional(
      field(parsedText("a mode in octal", parseMode), {
        type: "octal number",
        meaning: "Its permission bits.",
        example: '"0600"',
      }),
      "0644",
    ),
  }),
  v.transform(({ path, content, mode }): FileSpec => ({ path, content, mode })),
);

export const filesSchema = listOf("a list of files", fileSchema);
