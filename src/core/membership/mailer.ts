/** Composes datagrams: the body, bad news the receiver must hear about itself, then as much gossip as fits. */
import type { NodeId } from "../../model/ids.ts";
import { updateBytes, type BroadcastQueue } from "./broadcast-queue.ts";
import type { MembershipOptions } from "./options.ts";
import type { MessageBody, Outbox, Update } from "./protocol.ts";
import type { Roster } from "./roster.ts";
import { retransmitLimit } from "./timing.ts";
import type { View } from "./view.ts";

/** Set aside in each datagram for everything that is not gossip. */
const BODY_BYTES = 200;

export interface MailerParts {
  readonly view: View;
  readonly queue: BroadcastQueue;
  readonly roster: Roster;
  readonly outbox: Outbox;
}

export class Mailer {
  readonly #parts: MailerParts;
  readonly #options: MembershipOptions;

  constructor(parts: MailerParts, options: MembershipOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Sends `body` to a member, or to whoever is at `address` when it is not known which. */
  send(address: string, member: NodeId | undefined, body: MessageBody, extra?: Update): void {
    const { view, queue, roster, outbox } = this.#parts;
    const notice = extra ?? (member === undefined ? undefined : roster.noticeFor(member));
    const first = notice === undefined ? [] : [notice];
    const bytes = this.#options.datagramBytes - BODY_BYTES - (notice === undefined ? 0 : updateBytes(notice));
    const limit = retransmitLimit(this.#options.retransmitMult, view.presentCount + 1);
    const updates = [...first, ...queue.take(bytes, limit, notice === undefined ? undefined : member)];
    if (body.kind === "gossip" && updates.length === 0) return;
    outbox.push({ kind: "send", to: address, member, message: { ...body, from: roster.sender, updates } });
  }
}
