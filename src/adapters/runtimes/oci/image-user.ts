/** Who a container runs as: `uid[:gid]`, or names looked up in the image's own passwd and group files. */
import { lstatSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

export interface ImageUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

export type ImageUserResult =
  { readonly ok: true; readonly user: ImageUser } | { readonly ok: false; readonly detail: string };

const fileBytesMax = 1024 * 1024;
const linksMax = 40;
const idMax = 2 ** 31 - 1;

/** `root` is the image's root directory on this node; `user` as the image or the caller wrote it, empty for root. */
export function resolveImageUser(root: string, user: string): ImageUserResult {
  const separator = user.indexOf(":");
  const userPart = separator === -1 ? user : user.slice(0, separator);
  const groupPart = separator === -1 ? "" : user.slice(separator + 1);
  const passwd = table(root, "/etc/passwd");
  const group = table(root, "/etc/group");

  const wanted = userPart === "" ? "0" : userPart;
  const entry =
    passwd.find((fields) => fields[0] === wanted) ?? passwd.find((fields) => fields[2] === wanted);
  const uid = parseId(entry?.[2] ?? wanted);
  if (uid === undefined) return { ok: false, detail: `no user "${userPart}" in the image` };

  if (groupPart !== "") {
    const found = group.find((fields) => fields[0] === groupPart);
    const gid = parseId(found?.[2] ?? groupPart);
    return gid === undefined
      ? { ok: false, detail: `no group "${groupPart}" in the image` }
      : { ok: true, user: { uid, gid, additionalGids: [] } };
  }
  const gid = parseId(entry?.[3] ?? "0") ?? 0;
  const name = entry?.[0];
  const additionalGids = group
    .filter((fields) => isListed(fields[3], name))
    .map((fields) => parseId(fields[2] ?? ""))
    .filter((id) => id !== undefined)
    .filter((id) => id !== gid);
  return { ok: true, user: { uid, gid, additionalGids } };
}

function isListed(names: string | undefined, name: string | undefined) {
  return name !== undefined && (names ?? "").split(",").includes(name);
}

function parseId(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= idMax ? id : undefined;
}

function table(root: string, path: string): string[][] {
  const file = resolveInside(root, path);
  if (file === undefined) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.trim().split(":"));
}

/**
 * A regular file's path with every symbolic link followed as if `root` were the root directory, as
 * the container itself would: an image must not be able to make the agent read the machine's files.
 * Undefined when there is none, or it is no ordinary file of ordinary size.
 */
export function resolveInside(root: string, path: string): string | undefined {
  const pending = path.split("/").toReversed();
  const resolved: string[] = [];
  let links = 0;
  let isFile = false;
  for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
    if (part === "" || part === ".") continue;
    if (isFile) return undefined;
    if (part === "..") {
      resolved.pop();
      continue;
    }
    const here = join(root, ...resolved, part);
    const stat = lstatSync(here, { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    if (!stat.isSymbolicLink()) {
      isFile = stat.isFile() && stat.size <= fileBytesMax;
      if (!stat.isDirectory() && !isFile) return undefined;
      resolved.push(part);
      continue;
    }
    links += 1;
    if (links > linksMax) return undefined;
    const target = readlinkSync(here);
    if (target.startsWith("/")) resolved.length = 0;
    pending.push(...target.split("/").toReversed());
  }
  return isFile ? join(root, ...resolved) : undefined;
}
