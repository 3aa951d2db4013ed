/** Every reachable node's promises, for those who want to see the whole fleet's. Asks all nodes: for people, not for machines. */
import type { MemberRecord } from "../model/member.ts";
import type { PromiseView } from "../model/views.ts";
import { methods } from "../wire/calls.ts";
import type { Peers } from "./peers.ts";

const callTimeoutMs = 1_000;

export async function gatherPromises(
  peers: Peers,
  members: readonly MemberRecord[],
): Promise<{ promises: readonly PromiseView[]; unreachable: readonly string[] }> {
  const unreachable: string[] = [];
  const ask = async ({ id, name, status }: MemberRecord): Promise<readonly PromiseView[]> => {
    if (status === "left") return [];
    if (status === "dead") {
      unreachable.push(name);
      return [];
    }
    try {
      const views: PromiseView[] = JSON.parse(
        (await peers.call(id, methods.promises, {}, callTimeoutMs)).json,
      );
      return views;
    } catch {
      // Named in the answer: whoever asked sees what is missing.
      unreachable.push(name);
      return [];
    }
  };
  const lists = await Promise.all(members.map(ask));
  const promises = lists.flat().sort((a, b) => (a.promise < b.promise ? -1 : 1));
  return { promises, unreachable: unreachable.sort() };
}
