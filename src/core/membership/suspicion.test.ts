import { expect, test } from "bun:test";
import { Suspicion } from "./suspicion.ts";

const span = { minMs: 600, maxMs: 3_600, confirmationsWanted: 3 };
const settings = { span, graceMs: 10_000 };

function suspect(evidence: number): Suspicion {
  return new Suspicion(settings, { accuser: "a", evidence }, 0);
}

test("each new accuser brings the end nearer, the same one does not", () => {
  const suspicion = suspect(0);
  expect(suspicion.endsAt()).toBe(3_600);
  expect(suspicion.hear("a", 0, 10)).toBe("known");
  expect(suspicion.hear("b", 0, 10)).toBe("confirmed");
  expect(suspicion.endsAt()).toBe(2_100);
  expect(suspicion.hear("c", 0, 10)).toBe("confirmed");
  expect(suspicion.hear("d", 0, 10)).toBe("confirmed");
  expect(suspicion.endsAt()).toBe(600);
  expect(suspicion.hear("e", 0, 10)).toBe("known");
});

test("a refusal grants the grace from when it was first known", () => {
  const suspicion = suspect(0);
  expect(suspicion.observe("self", "refused", 100)).toBe("changed");
  expect(suspicion.endsAt()).toBe(10_100);
  expect(suspicion.hear("b", 1, 300)).toBe("confirmed");
  expect(suspicion.endsAt()).toBe(10_100);
});

test("another member's timeout does not shorten the grace, and the next own refusal outbids it", () => {
  const suspicion = suspect(1);
  expect(suspicion.hear("b", 0, 100)).toBe("known");
  expect(suspicion.hear("b", 2, 100)).toBe("confirmed");
  expect(suspicion.endsAt()).toBe(10_000);
  expect(suspicion.observe("self", "refused", 200)).toBe("changed");
  expect(suspicion.evidence).toBe(3);
  expect(suspicion.endsAt()).toBe(10_000);
});

test("an own probe to which nothing answers ends the grace", () => {
  const suspicion = suspect(1);
  expect(suspicion.observe("self", "timeout", 1_000)).toBe("changed");
  expect(suspicion.evidence).toBe(2);
  expect(suspicion.endsAt()).toBe(4_600);
  expect(suspicion.hear("b", 2, 1_100)).toBe("confirmed");
  expect(suspicion.endsAt()).toBe(3_100);
});

test("flipping evidence never outlasts one grace", () => {
  const suspicion = suspect(1);
  for (let at = 500; at < 9_800; at += 500) {
    suspicion.observe("self", at % 1_000 === 0 ? "refused" : "timeout", at);
    expect(suspicion.endsAt()).toBeLessThanOrEqual(10_000);
  }
});

test("a pause of this node is given back", () => {
  const suspicion = suspect(0);
  suspicion.extend(5_000);
  expect(suspicion.endsAt()).toBe(8_600);
});
