/** A spec as somebody would write it: a manifest in YAML that says what is not so anyway. */
import * as v from "valibot";
import { Document, isScalar, visit } from "yaml";
import type { DeploymentSpec, Mount } from "../../model/spec.ts";
import { canonicalJson } from "../../wire/digest.ts";
import { tmpfsSource } from "./container-values.ts";
import { deploymentSchema } from "./deployment-schema.ts";
import { hasOnlyMain } from "./differences.ts";
import { exactBytes } from "./quantity.ts";
import { writtenMount, writtenSpec, type Written } from "./written.ts";

type Fields = { readonly [key: string]: Written | undefined };

const namespaceDefault = "default";
/** Longest list of texts that stands on one line. */
const flowLengthMax = 60;

/** Fields in the order of the reference; `parseManifests` makes the same spec of it. */
export function shortManifest(spec: DeploymentSpec): Fields {
  const schema = deploymentSchema(namespaceDefault);
  const meant = canonicalJson(spec);
  const says = (candidate: Fields): boolean => {
    const parsed = v.safeParse(schema, candidate);
    return parsed.success && canonicalJson(parsed.output) === meant;
  };
  const long = withoutAbsent(withShortMounts(writtenSpec(spec), spec));
  const { name, namespace, replicas, labels, initContainers, containers, ...rest } = long;
  const first = { name, namespace, replicas, labels };
  const [main] = mapsIn(containers);
  const what = main !== undefined && hasOnlyMain(spec) ? unnamed(main) : { initContainers, containers };
  return withoutNeedless(withoutAbsent({ ...first, ...what, ...rest }), says);
}

export function manifestText(manifest: Fields): string {
  const document = new Document(manifest, { schema: "failsafe" });
  visit(document, {
    Seq(_key, list) {
      const texts = list.items.map((item) => (isScalar(item) ? String(item.value) : "\n"));
      list.flow = texts.every((text) => !text.includes("\n")) && texts.join(", ").length <= flowLengthMax;
    },
    Scalar(_key, node) {
      // What a plain scalar would be read as: nothing, or something else.
      if (
        isScalar(node) &&
        typeof node.value === "string" &&
        /^(|~|null)$|[\p{Cc}\u2028\u2029\ufeff]/iu.test(node.value)
      ) {
        const isText = /^[^\p{Cc}]+(\n[^\p{Cc}]+)*\n?$/u.test(node.value) && node.value.includes("\n");
        node.type = isText ? "BLOCK_LITERAL" : "QUOTE_DOUBLE";
      }
    },
  });
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

function withShortMounts(fields: Fields, { template }: DeploymentSpec): Fields {
  const short = (list: "containers" | "initContainers"): readonly Written[] =>
    template[list].map((container, index) => {
      const written = mapsIn(fields[list])[index] ?? {};
      return { ...written, mounts: container.mounts.map(shortMount) };
    });
  return { ...fields, initContainers: short("initContainers"), containers: short("containers") };
}

/** Its short form where that can say it. */
function shortMount(mount: Mount): Written {
  const { target } = mount;
  if (target.includes(":") || (mount.kind === "bind" && mount.source.includes(":")))
    return writtenMount(mount);
  if (mount.kind === "tmpfs")
    return `${tmpfsSource}:${target}${mount.sizeBytes === 0 ? "" : `:${exactBytes(mount.sizeBytes)}`}`;
  return `${mount.kind === "bind" ? mount.source : mount.volume}:${target}${mount.readOnly ? ":ro" : ""}`;
}

function unnamed({ name: _name, ...container }: Fields): Fields {
  return container;
}

/** Whoever reads it takes a key without a value for one that is not known there. */
function withoutAbsent(fields: Fields): Fields {
  const present = (value: Written): Written => {
    if (isList(value)) return value.map(present);
    return isMap(value) ? withoutAbsent(value) : value;
  };
  return Object.fromEntries(
    Object.entries(fields).flatMap(([key, value]) => (value === undefined ? [] : [[key, present(value)]])),
  );
}

function mapsIn(list: Written | undefined): readonly Fields[] {
  return isList(list) ? list.filter((item): item is Fields => isMap(item)) : [];
}

/** Leaves out each field without which the whole says the same; those inside of what stays as well. */
function withoutNeedless(whole: Fields, says: (candidate: Fields) => boolean): Fields {
  const prune = (value: Written, put: (value: Written) => Fields): Written => {
    if (isList(value)) {
      let items = value;
      value.forEach((item, at) => {
        const putItem = (changed: Written): Fields => put(items.with(at, changed));
        items = items.with(at, prune(item, putItem));
      });
      return items;
    }
    if (!isMap(value)) return value;
    let map: Fields = value;
    for (const key of Object.keys(value)) {
      const { [key]: member, ...rest } = map;
      if (member === undefined) continue;
      if (says(put(rest))) map = rest;
      else map = { ...map, [key]: prune(member, (changed) => put({ ...map, [key]: changed })) };
    }
    return map;
  };
  const pruned = prune(whole, (value) => (isMap(value) ? value : {}));
  return isMap(pruned) ? pruned : whole;
}

function isList(value: Written | undefined): value is readonly Written[] {
  return Array.isArray(value);
}

function isMap(value: Written | undefined): value is Fields {
  return typeof value === "object" && !Array.isArray(value);
}
