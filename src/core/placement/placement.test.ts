import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Offer, PlacementRequest, Refusal } from "../../model/placement.ts";
import type { PromiseTerms } from "../../model/promise.ts";
import type { PortSpec, Resources } from "../../model/spec.ts";
import { createRng } from "../rng.ts";
import { freeOf, promisesMax, type BookLine, type BookSummary } from "./book.ts";
import { assign, sample } from "./choose.ts";
import { exhaustion, explain } from "./explain.ts";
import { createSpreadPolicy } from "./policy.ts";
import { admit, quote } from "./quote.ts";
import { containerResourcesDefault, singleContainer } from "../../model/template.ts";

const mebibyte = 1024 * 1024;
const none: Resources = { cpuMillis: 0, memoryBytes: 0 };
const http: PortSpec = { container: 80, published: 8080, protocol: "tcp" };

function bookOf(changes: Partial<BookSummary>): BookSummary {
  return {
    node: "a",
    capacity: { cpuMillis: 2000, memoryBytes: 1000 * mebibyte },
    lines: [],
    takenPorts: [],
    isStopping: false,
    released: new Set(),
    ...changes,
  };
}

function lineOf(changes: Partial<BookLine>): BookLine {
  return {
    promise: "p",
    deployment: "other",
    holder: "shop/other",
    epoch: 1,
    resources: none,
    ports: [],
    ...changes,
  };
}

function requestOf(changes: Partial<PlacementRequest>): PlacementRequest {
  return { group: "g", deployment: "d", count: 1, resources: none, ports: [], images: ["i"], ...changes };
}

function termsOf(
  changes: Partial<PromiseTerms>,
  need: { resources?: Resources; ports?: PortSpec[] } = {},
): PromiseTerms {
  return {
    id: "g/1",
    group: "g",
    deployment: "d",
    namespace: "shop",
    name: "web",
    epoch: 1,
    replica: 0,
    templateHash: "t",
    template: singleContainer({
      image: "i",
      ports: need.ports ?? [],
      resources: { ...containerResourcesDefault, ...(need.resources ?? none) },
    }),
    ...changes,
  };
}

function refusalIn(book: BookSummary, request: PlacementRequest): Refusal | undefined {
  const answer = quote(book, request, false);
  return answer.kind === "refusal" ? answer.refusal : undefined;
}

function offerOf(changes: Partial<Offer>): Offer {
  return {
    node: "a",
    slots: 10,
    held: 0,
    promises: 0,
    free: { cpuMillis: 1000, memoryBytes: 1000 },
    capacity: { cpuMillis: 1000, memoryBytes: 1000 },
    hasImages: false,
    ...changes,
  };
}

describe("quote", () => {
  test("P2: offers as many slots as CPU and memory hold, and no more than asked for", () => {
    const resources = { cpuMillis: 300, memoryBytes: 100 * mebibyte };
    const slots = (count: number): number => {
      const answer = quote(bookOf({}), requestOf({ count, resources }), true);
      return answer.kind === "offer" ? answer.offer.slots : 0;
    };
    expect(slots(4)).toBe(4);
    expect(slots(100)).toBe(6);
  });

  test("counts what the book reserves, and what of it is of the same deployment", () => {
    const lines = [
      lineOf({ promise: "1", deployment: "d", resources: { cpuMillis: 500, memoryBytes: 900 * mebibyte } }),
      lineOf({ promise: "2" }),
    ];
    const answer = quote(bookOf({ lines }), requestOf({}), true);
    expect(answer).toMatchObject({
      kind: "offer",
      offer: {
        held: 1,
        promises: 2,
        hasImages: true,
        free: { cpuMillis: 1500, memoryBytes: 100 * mebibyte },
      },
    });
    const refusal = refusalIn(
      bookOf({ lines }),
      requestOf({ resources: { cpuMillis: 0, memoryBytes: 512 * mebibyte } }),
    );
    expect(refusal).toMatchObject({
      reason: "memory",
      detail: "not enough memory (needs 512Mi, 100Mi free)",
    });
  });

  test("a published port serves one replica a node, and none when somebody has it", () => {
    const answer = quote(bookOf({}), requestOf({ count: 3, ports: [http] }), false);
    expect(answer).toMatchObject({ kind: "offer", offer: { slots: 1 } });
    const byPromise = bookOf({ lines: [lineOf({ holder: "shop/web", ports: [http] })] });
    expect(refusalIn(byPromise, requestOf({ ports: [http] }))).toMatchObject({
      reason: "port-taken",
      detail: "port 8080/tcp is taken by shop/web",
    });
    const byProgram = bookOf({ takenPorts: [{ port: 8080, protocol: "tcp", holder: "nginx" }] });
    expect(refusalIn(byProgram, requestOf({ ports: [http] }))?.detail).toBe(
      "port 8080/tcp is taken by nginx",
    );
    expect(refusalIn(byProgram, requestOf({ ports: [{ ...http, protocol: "udp" }] }))).toBeUndefined();
    expect(
      refusalIn(byProgram, requestOf({ ports: [{ container: 8080, protocol: "tcp" }] })),
    ).toBeUndefined();
  });

  test("needs of zero always fit, up to the most promises of a node", () => {
    const empty = bookOf({ capacity: none });
    expect(quote(empty, requestOf({ count: 9_000 }), false)).toMatchObject({ offer: { slots: promisesMax } });
    const full = bookOf({
      lines: Array.from({ length: promisesMax }, (_, i) => lineOf({ promise: `${i}` })),
    });
    expect(refusalIn(full, requestOf({}))?.reason).toBe("busy");
  });

  test("a node that leaves offers nothing", () => {
    expect(refusalIn(bookOf({ isStopping: true }), requestOf({}))?.reason).toBe("stopping");
  });
});

describe("admit", () => {
  test("P3: is idempotent: a promise in the book is admitted again even when there is no room left", () => {
    const resources = { cpuMillis: 2000, memoryBytes: 0 };
    const terms = termsOf({}, { resources });
    expect(admit(bookOf({}), terms)).toBeUndefined();
    const lines = [lineOf({ promise: "g/1", deployment: "d", resources })];
    expect(admit(bookOf({ lines }), terms)).toBeUndefined();
    expect(admit(bookOf({ lines }), termsOf({ id: "g/2" }, { resources }))).toMatchObject({
      reason: "cpu",
      detail: "not enough CPU (needs 2, 0 free)",
    });
  });

  test("P4: refuses an epoch below one it has admitted, and a promise released here", () => {
    const lines = [lineOf({ deployment: "d", epoch: 2 })];
    expect(admit(bookOf({ lines }), termsOf({ epoch: 1 }))?.reason).toBe("stale-epoch");
    expect(admit(bookOf({ lines }), termsOf({ epoch: 2 }))).toBeUndefined();
    expect(admit(bookOf({ released: new Set(["g/1"]) }), termsOf({}))?.reason).toBe("stale-epoch");
  });

  test("P1: whatever is admitted in whatever order, the book is never over-committed", () => {
    const resources = fc.record({ cpuMillis: fc.nat(900), memoryBytes: fc.nat(400 * mebibyte) });
    const ports = fc.array(
      fc.record({
        container: fc.constant(80),
        published: fc.integer({ min: 1, max: 5 }),
        protocol: fc.constant("tcp" as const),
      }),
      { maxLength: 1 },
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(resources, ports), { maxLength: 30 }), (needs) => {
        let book = bookOf({});
        needs.forEach(([amount, wanted], index) => {
          const terms = termsOf({ id: `g/${index}` }, { resources: amount, ports: wanted });
          const offered =
            quote(book, requestOf({ resources: amount, ports: wanted }), false).kind === "offer";
          const refusal = admit(book, terms);
          expect(offered).toBe(refusal === undefined);
          if (refusal === undefined)
            book = {
              ...book,
              lines: [...book.lines, lineOf({ promise: terms.id, resources: amount, ports: wanted })],
            };
        });
        const sum = (of: keyof Resources): number =>
          book.lines.reduce((total, line) => total + line.resources[of], 0);
        expect(sum("cpuMillis") + freeOf(book).cpuMillis).toBe(book.capacity.cpuMillis);
        expect(sum("memoryBytes") + freeOf(book).memoryBytes).toBe(book.capacity.memoryBytes);
        const published = book.lines.flatMap((line) => line.ports.map((port) => port.published));
        expect(new Set(published).size).toBe(published.length);
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});

describe("sample", () => {
  const candidates = Array.from({ length: 40 }, (_, index) => ({
    id: `n${index}`,
    free: { cpuMillis: index < 30 ? 1000 : 10, memoryBytes: 0 },
  }));
  const request = requestOf({ count: 4, resources: { cpuMillis: 100, memoryBytes: 0 } });

  test("asks twice the count and three, likely ones only; the unlikely come last", () => {
    const { first, rest } = sample(candidates, request, createRng(1));
    expect(first.length).toBe(11);
    const isLikely = (id: string): boolean => Number(id.slice(1)) < 30;
    expect(first.every(isLikely)).toBe(true);
    expect(rest.slice(0, 19).every(isLikely)).toBe(true);
    expect(new Set([...first, ...rest]).size).toBe(40);
  });

  test("when no hint speaks for a node, nodes are asked all the same", () => {
    const { first } = sample(
      candidates,
      { ...request, resources: { cpuMillis: 5000, memoryBytes: 0 } },
      createRng(1),
    );
    expect(first.length).toBe(11);
  });
});

describe("assign", () => {
  test("spreads: fewest replicas, then fewest promises, then the greatest free share, then the image, then the id", () => {
    const best = (offers: Offer[]): string | undefined => assign(offers, requestOf({}))[0];
    expect(best([offerOf({ node: "a", held: 1 }), offerOf({ node: "b", promises: 9 })])).toBe("b");
    expect(best([offerOf({ node: "a", promises: 2 }), offerOf({ node: "b", promises: 1 })])).toBe("b");
    expect(
      best([offerOf({ node: "a", free: { cpuMillis: 1, memoryBytes: 1 } }), offerOf({ node: "b" })]),
    ).toBe("b");
    expect(best([offerOf({ node: "a" }), offerOf({ node: "b", hasImages: true })])).toBe("b");
    expect(best([offerOf({ node: "b" }), offerOf({ node: "a" })])).toBe("a");
  });

  test("P5: never gives a node more than its slots, gives all it can, and does not depend on the order of offers", () => {
    const offers = fc
      .array(fc.tuple(fc.nat(6), fc.nat(5), fc.nat(9)), { maxLength: 8 })
      .map((shapes) =>
        shapes.map(([slots, held, promises], index) => offerOf({ node: `n${index}`, slots, held, promises })),
      );
    fc.assert(
      fc.property(offers, fc.integer({ min: 1, max: 30 }), (given, count) => {
        const chosen = assign(given, requestOf({ count }));
        const room = given.reduce((total, offer) => total + offer.slots, 0);
        expect(chosen.length).toBe(Math.min(count, room));
        for (const offer of given)
          expect(chosen.filter((node) => node === offer.node).length).toBeLessThanOrEqual(offer.slots);
        expect(assign(given.toReversed(), requestOf({ count }))).toEqual(chosen);
      }),
      { seed: 2, numRuns: 300 },
    );
  });
});

describe("explain", () => {
  const memory = { cpuMillis: 0, memoryBytes: 512 * mebibyte };
  const refusal = (node: string, free: number): Refusal => ({
    node,
    reason: "memory",
    detail: "not enough memory",
    free: { cpuMillis: 0, memoryBytes: free * mebibyte },
  });

  test("P6: counts by reason and names the nearest miss and the holder", () => {
    const taken: Refusal = { node: "c", reason: "port-taken", detail: "port 8080/tcp is taken by shop/web" };
    const { lines, key } = explain(
      [taken, refusal("a", 300), refusal("b", 10)],
      requestOf({ resources: memory }),
    );
    expect(lines).toEqual([
      "2 nodes: not enough memory (needs 512Mi, at most 300Mi free)",
      "1 node: port 8080/tcp is taken by shop/web",
    ]);
    const later = explain([refusal("b", 20), taken, refusal("a", 200)], requestOf({ resources: memory }));
    expect(later.key).toBe(key);
  });

  test("a node whose slots are all taken says what ran out", () => {
    const offer = offerOf({ slots: 1, free: { cpuMillis: 0, memoryBytes: 812 * mebibyte } });
    expect(exhaustion(offer, requestOf({ resources: memory })).detail).toBe(
      "not enough memory (needs 512Mi, 300Mi free)",
    );
    expect(exhaustion(offer, requestOf({ ports: [http] })).detail).toBe(
      "port 8080/tcp serves one replica a node",
    );
    const policy = createSpreadPolicy(createRng(1));
    expect(policy.explain([], [offer], requestOf({ ports: [http] })).lines).toEqual([
      "1 node: port 8080/tcp serves one replica a node",
    ]);
  });

  test("says so when there was nobody to ask", () => {
    expect(explain([], requestOf({})).lines).toEqual(["no node could be asked"]);
  });
});
