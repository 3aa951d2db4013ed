import { describe, expect, test } from "bun:test";
import { defined } from "../../model/assert.ts";
import type { CohortRef, PromiseTerms } from "../../model/promise.ts";
import { containerIdOf, containerLabels, endpointIdOf } from "./container-ids.ts";
import { KeeperMachine } from "./machine.ts";
import type {
  BookRecord,
  KeeperEffect,
  KeeperInput,
  ObservedContainer,
  ObservedEndpoint,
  StepFailure,
  StepName,
} from "./messages.ts";
import { keeperDefaults } from "./options.ts";
import { simulatedTerms } from "./simulated-terms.ts";

const cohort: CohortRef = { group: "g", deployment: "d", epoch: 1, voters: ["n1"] };
const web = simulatedTerms(1, 0, "always");

/** A keeper with a clock that the test sets; what it asked for last is in `effects`. */
class Bench {
  readonly machine = new KeeperMachine(keeperDefaults);
  readonly disk = new Map<string, BookRecord>();
  now = 0;
  effects: readonly KeeperEffect[] = [];

  constructor(
    found: { records?: BookRecord[]; containers?: ObservedContainer[]; endpoints?: ObservedEndpoint[] } = {},
  ) {
    this.feed({ kind: "start", records: [], containers: [], endpoints: [], wallMs: 1_000_000, ...found });
  }

  feed(input: KeeperInput): this {
    this.effects = this.machine.step(input, this.now);
    for (const effect of this.effects) {
      if (effect.kind !== "persist") continue;
      for (const record of effect.records)
        this.disk.set(record.kind === "promise" ? record.terms.id : record.promise, record);
      for (const promise of effect.removed) this.disk.delete(promise);
    }
    return this;
  }

  admit(...terms: PromiseTerms[]): this {
    return this.feed({ kind: "admit", terms, cohort, wallMs: 1_000_000 + this.now });
  }

  release(promise = web.id): this {
    return this.feed({ kind: "release", promises: [promise], reason: "scaled down", cohort });
  }

  done(step: StepName, promise = web.id, container = "main"): this {
    return this.feed({
      kind: "step-done",
      promise,
      step,
      ...(step === "attach" || step === "detach" ? {} : { container }),
      networkNamespace: "/netns/1",
      imageDigest: "sha256:1",
    });
  }

  fail(step: StepName, error: Partial<StepFailure> = {}): this {
    const failure = { code: "failed", message: "no luck", permanent: false, ...error };
    const isNetwork = step === "attach" || step === "detach";
    const container = isNetwork ? {} : { container: "main" };
    return this.feed({ kind: "step-failed", promise: web.id, step, ...container, error: failure });
  }

  ended(attempt: number, exitCode: number, terms = web): this {
    return this.feed({ kind: "container-ended", status: container(attempt, "exited", { exitCode }, terms) });
  }

  at(now: number): this {
    this.now = now;
    return this.feed({ kind: "timeout" });
  }

  /** To a running container. */
  up(): this {
    return this.done("ensure-image").done("attach").done("create").done("start");
  }

  get steps(): string[] {
    return this.effects.flatMap((effect) =>
      effect.kind === "step" ? [`${effect.step} ${effect.container?.attempt ?? ""}`.trim()] : [],
    );
  }

  get reports(): string[] {
    return this.effects.flatMap((effect) =>
      effect.kind === "report"
        ? [`${effect.report.phase} ${effect.report.restarts} ${effect.report.message ?? ""}`.trim()]
        : [],
    );
  }

  get kinds(): string[] {
    return this.effects.flatMap((effect) => (effect.kind === "event" ? [] : [effect.kind]));
  }
}

function container(
  attempt: number,
  phase: ObservedContainer["phase"],
  end: { exitCode?: number } = {},
  terms = web,
): ObservedContainer {
  return {
    id: containerIdOf(terms, 0, attempt),
    labels: containerLabels(terms, "main", attempt),
    phase,
    ...end,
  };
}

const endpoint = { id: endpointIdOf(web), networkNamespace: "/netns/1" };

describe("starting", () => {
  test("one step after another, the first after the book is durable", () => {
    const bench = new Bench().admit(web);
    expect(bench.kinds[0]).toBe("persist");
    expect(bench.kinds.toSorted()).toEqual(["admission", "persist", "step"]);
    expect(bench.steps).toEqual(["ensure-image 0"]);
    expect(bench.done("ensure-image").steps).toEqual(["attach"]);
    expect(bench.done("attach").steps).toEqual(["create 0"]);
    expect(bench.done("create").steps).toEqual(["start 0"]);
    bench.done("start");
    expect(bench.kinds).toEqual(["persist", "report"]);
    expect(bench.reports).toEqual(["running 0"]);
  });

  test("an award that comes twice is answered twice and begun once", () => {
    const bench = new Bench().admit(web).admit(web);
    expect(bench.kinds).toEqual(["persist", "admission"]);
    expect(bench.machine.entries().length).toBe(1);
  });

  test("a start is reported once it takes long", () => {
    const bench = new Bench().admit(web);
    expect(bench.machine.deadline()).toBe(250);
    expect(bench.at(249).reports).toEqual([]);
    expect(bench.at(250).reports).toEqual(["starting 0"]);
  });

  test("no more than so many pulls, starts and stops at a time, oldest first", () => {
    const many = Array.from({ length: 20 }, (_, i) => simulatedTerms(i, i, "always"));
    const bench = new Bench().admit(...many);
    expect(bench.steps.length).toBe(keeperDefaults.stepsMax);
    bench.done("ensure-image", "g/0");
    // The pull that ended makes room for another, and its promise goes on in a lane of its own.
    expect(bench.steps).toEqual(["attach", "ensure-image 0"]);
    bench.feed({ kind: "stop-all", reason: "leaving" });
    expect(bench.kinds.filter((kind) => kind === "abort").length).toBe(keeperDefaults.stepsMax);
  });

  test("a slot's next promise waits until the one before is gone", () => {
    const next = simulatedTerms(2, 0, "always");
    const bench = new Bench().admit(web).up().release();
    bench.admit(next);
    expect(bench.steps).toEqual([]);
    expect(bench.reports).toEqual([`admitted 0 waits until ${web.id} is gone from this node`]);
    bench.done("stop").ended(0, 143).done("remove");
    expect(bench.steps).toEqual(["detach"]);
    bench.done("detach");
    expect(bench.steps).toEqual(["ensure-image 0"]);
  });
});

describe("restarts", () => {
  /** Ends the running attempt, and says after how long the next one is begun. */
  const delayAfterEnd = (bench: Bench, attempt: number): number => {
    const before = bench.now;
    bench.ended(attempt, 1);
    while (bench.steps.length === 0) bench.at(defined(bench.machine.deadline(), "a deadline"));
    expect(bench.steps).toEqual([`remove ${attempt}`]);
    bench.done("remove");
    expect(bench.steps).toEqual([`create ${attempt + 1}`]);
    bench.done("create").done("start");
    return bench.now - before;
  };

  test("at once, then 1 s, 2 s, 4 s and so on to 60 s", () => {
    const bench = new Bench().admit(web).up();
    const delays = Array.from({ length: 9 }, (_, attempt) => delayAfterEnd(bench, attempt) / 1_000);
    expect(delays).toEqual([0, 1, 2, 4, 8, 16, 32, 60, 60]);
  });

  test("a long run starts the count over", () => {
    const bench = new Bench().admit(web).up();
    delayAfterEnd(bench, 0);
    expect(delayAfterEnd(bench, 1)).toBe(1_000);
    bench.now += 60_000;
    expect(delayAfterEnd(bench, 2)).toBe(0);
  });

  test("the first restart is one report with the exit code", () => {
    const bench = new Bench().admit(web).up();
    expect(bench.ended(0, 3).reports).toEqual([]);
    bench.done("remove").done("create").done("start");
    expect(bench.reports).toEqual(["running 1"]);
    expect(bench.machine.get(web.id)?.report.exitCode).toBe(3);
  });

  test("never and on-failure complete, and nothing more is done", () => {
    for (const [policy, exitCode] of [
      ["never", 1],
      ["never", 0],
      ["on-failure", 0],
    ] as const) {
      const terms = simulatedTerms(1, 0, policy);
      const bench = new Bench().admit(terms).up().ended(0, exitCode, terms);
      expect(bench.steps).toEqual([]);
      expect(bench.reports).toEqual([`completed 0 exited with ${exitCode}`]);
    }
    const failing = new Bench()
      .admit(simulatedTerms(1, 0, "on-failure"))
      .up()
      .ended(0, 1);
    expect(failing.steps).toEqual(["remove 0"]);
  });

  test("an end told twice, or before the answer to the start, counts once", () => {
    const bench = new Bench().admit(web).done("ensure-image").done("attach").done("create");
    expect(bench.ended(0, 1).steps).toEqual([]);
    expect(bench.done("start").steps).toEqual(["remove 0"]);
    expect(bench.ended(0, 1).steps).toEqual([]);
    bench.done("remove").done("create").done("start");
    expect(bench.reports).toEqual(["running 1"]);
  });
});

describe("failures", () => {
  test("are tried again, later each time, and say why", () => {
    const bench = new Bench().admit(web).fail("ensure-image", { message: "no route" });
    expect(bench.reports).toEqual(["backoff 0 cannot get the image: no route"]);
    expect(bench.at(999).steps).toEqual([]);
    expect(bench.at(1_000).steps).toEqual(["ensure-image 0"]);
    bench.fail("ensure-image");
    expect(bench.at(2_999).steps).toEqual([]);
    expect(bench.at(3_000).steps.length).toBe(1);
  });

  test("that do not pass are tried seldom", () => {
    const bench = new Bench().admit(web).fail("ensure-image", { permanent: true });
    expect(bench.at(29_999).steps).toEqual([]);
    expect(bench.at(30_000).steps.length).toBe(1);
  });

  test("a container that may be half made is removed, and its id not used again", () => {
    const bench = new Bench().admit(web).done("ensure-image").done("attach").fail("create");
    expect(bench.at(1_000).steps).toEqual(["remove 0"]);
    expect(bench.done("remove").steps).toEqual(["create 1"]);
  });

  test("a container that vanished is made again", () => {
    const bench = new Bench().admit(web).up();
    bench.at(defined(bench.machine.deadline(), "the next resend or observation"));
    while (!bench.kinds.includes("observe")) bench.at(defined(bench.machine.deadline(), "a deadline"));
    const observe = defined(
      bench.effects.find((effect) => effect.kind === "observe"),
      "an observation",
    );
    bench.feed({ kind: "observed", observation: observe.observation, containers: [] });
    expect(bench.steps).toEqual(["remove 0"]);
  });
});

describe("release", () => {
  test("asks, waits, kills, removes, detaches, and is forgotten once acked", () => {
    const bench = new Bench().admit(web).up().release();
    expect(bench.steps).toEqual(["stop 0"]);
    expect(bench.reports).toEqual(["stopping 0"]);
    bench.done("stop");
    expect(bench.at(999).steps).toEqual([]);
    expect(bench.at(1_000).steps).toEqual(["kill 0"]);
    bench.done("kill");
    expect(bench.at(2_999).steps).toEqual([]);
    expect(bench.at(3_000).steps).toEqual(["remove 0"]);
    expect(bench.done("remove").steps).toEqual(["detach"]);
    expect(bench.done("detach").reports).toEqual(["stopped 0"]);
    expect(bench.machine.summary()).toEqual([]);
    const { seq } = defined(bench.machine.get(web.id), "the promise").report;
    bench.feed({ kind: "acked", acks: [{ promise: web.id, seq: seq - 1 }] });
    expect(bench.machine.get(web.id)).toBeDefined();
    bench.feed({ kind: "acked", acks: [{ promise: web.id, seq }] });
    expect(bench.machine.get(web.id)).toBeUndefined();
    expect(bench.disk.get(web.id)?.kind).toBe("tombstone");
    bench.admit(web);
    expect(bench.effects).toEqual([{ kind: "admission", admitted: [], refused: [web.id] }]);
  });

  test("what stops by itself is not killed", () => {
    const bench = new Bench().admit(web).up().release().done("stop").ended(0, 0);
    expect(bench.steps).toEqual(["remove 0"]);
  });

  test("a pull under way is given up, and nothing is left to stop", () => {
    const bench = new Bench().admit(web).release();
    expect(bench.kinds).toContain("abort");
    expect(bench.fail("ensure-image").reports).toEqual(["stopped 0"]);
  });

  test("of what is not here is answered, and a late award refused, also after a restart", () => {
    const bench = new Bench().release();
    expect(bench.reports).toEqual(["stopped 0 not in this node's book"]);
    expect(bench.kinds).toEqual(["persist", "report"]);
    const again = new Bench({ records: [...bench.disk.values()] }).admit(web);
    expect(again.effects).toEqual([{ kind: "admission", admitted: [], refused: [web.id] }]);
    again.at(keeperDefaults.forgetAfterMs);
    expect(again.disk.size).toBe(0);
    expect(again.machine.released().size).toBe(0);
  });

  test("without any ack a stopped promise is forgotten after an hour", () => {
    const bench = new Bench().admit(web).release().fail("ensure-image");
    bench.at(keeperDefaults.forgetAfterMs);
    expect(bench.machine.entries()).toEqual([]);
  });

  test("a node that leaves stops everything and admits nothing", () => {
    const bench = new Bench().admit(web).up().feed({ kind: "stop-all", reason: "the node leaves" });
    expect(bench.steps).toEqual(["stop 0"]);
    bench.admit(simulatedTerms(2, 1, "always"));
    expect(bench.effects).toEqual([{ kind: "admission", admitted: [], refused: ["g/2"] }]);
  });
});

describe("reports", () => {
  test("are sent again until they are acked, later each time", () => {
    const bench = new Bench().admit(web).up();
    const times: number[] = [];
    for (let i = 0; i < 6; i++) {
      bench.at(defined(bench.machine.deadline(), "a deadline"));
      if (bench.reports.length > 0) times.push(bench.now / 1_000);
    }
    expect(times).toEqual([1, 3, 7, 15, 31]);
    // Nothing is left to wait for but the observation under way.
    bench.feed({ kind: "acked", acks: [{ promise: web.id, seq: 2 }] });
    expect(bench.machine.deadline()).toBeUndefined();
  });

  test("go to a new cohort, not to a deposed one", () => {
    const bench = new Bench().admit(web).up();
    const later: CohortRef = { ...cohort, epoch: 2, voters: ["n2"] };
    expect(bench.feed({ kind: "cohort-changed", cohort: later }).reports).toEqual(["running 0"]);
    expect(bench.feed({ kind: "cohort-changed", cohort }).effects).toEqual([]);
    expect(bench.machine.get(web.id)?.cohort).toEqual(later);
    expect(bench.feed({ kind: "inquired", group: "g" }).reports).toEqual(["running 0"]);
    expect(bench.feed({ kind: "inquired", group: "another" }).reports).toEqual([]);
  });
});

describe("a new agent", () => {
  const after = (
    bench: Bench,
    containers: ObservedContainer[],
    endpoints: ObservedEndpoint[] = [endpoint],
  ): Bench => new Bench({ records: [...bench.disk.values()], containers, endpoints });

  test("leaves what runs alone", () => {
    const bench = after(new Bench().admit(web).up(), [container(0, "running")]);
    expect(bench.steps).toEqual([]);
    expect(bench.reports).toEqual(["running 0"]);
  });

  test("counts a start that the old one did not live to note", () => {
    const bench = after(new Bench().admit(web).done("ensure-image").done("attach").done("create"), [
      container(0, "running"),
    ]);
    expect(bench.reports).toEqual(["running 0"]);
    expect(
      bench.ended(0, 1).done("remove").done("ensure-image").done("create").done("start").reports,
    ).toEqual(["running 1"]);
  });

  test("restarts what ended meanwhile", () => {
    const bench = after(new Bench().admit(web).up(), [container(0, "exited", { exitCode: 1 })]);
    expect(bench.steps).toEqual(["remove 0"]);
    bench.done("remove").done("ensure-image");
    expect(bench.steps).toEqual(["create 1"]);
  });

  test("starts what is missing, with a new id and a new network", () => {
    const bench = after(new Bench().admit(web).up(), [], []);
    bench.done("remove").done("ensure-image");
    expect(bench.steps).toEqual(["attach"]);
  });

  test("does not run again what ran once and was to", () => {
    const once = simulatedTerms(1, 0, "never");
    const bench = after(new Bench().admit(once).up(), []);
    expect(bench.machine.get(once.id)?.report.phase).toBe("completed");
    expect(bench.steps).toEqual([]);
  });

  test("goes on with a release", () => {
    const bench = after(new Bench().admit(web).up().release(), [container(0, "running")]);
    expect(bench.steps).toEqual(["stop 0"]);
  });

  test("removes what nobody promised, and leaves strangers alone", () => {
    const other = simulatedTerms(9, 0, "always");
    const stranger: ObservedContainer = { id: "theirs", labels: {}, phase: "running" };
    const stray = { id: endpointIdOf(other), networkNamespace: "/netns/9" };
    const bench = new Bench({
      containers: [container(0, "running", {}, other), stranger],
      endpoints: [stray],
    });
    const swept = bench.effects.flatMap((effect) => (effect.kind === "sweep" ? [effect.target.id] : []));
    expect(swept).toEqual([containerIdOf(other, 0, 0), endpointIdOf(other)]);
  });

  test("removes what a step of its predecessor left behind later", () => {
    const other = simulatedTerms(9, 1, "always");
    const bench = after(new Bench().admit(web).up(), [container(0, "running")]);
    while (!bench.kinds.includes("observe")) bench.at(defined(bench.machine.deadline(), "a deadline"));
    const { observation } = defined(
      bench.effects.find((effect) => effect.kind === "observe"),
      "an observation",
    );
    const late = { id: endpointIdOf(other), networkNamespace: "/netns/9" };
    const containers = [container(0, "running"), container(1, "created"), container(3, "exited", {}, other)];
    bench.feed({ kind: "observed", observation, containers, endpoints: [endpoint, late] });
    const swept = bench.effects.flatMap((effect) => (effect.kind === "sweep" ? [effect.target.id] : []));
    expect(swept).toEqual([containerIdOf(web, 0, 1), containerIdOf(other, 0, 3), endpointIdOf(other)]);
    expect(bench.steps).toEqual([]);
    // A failed sweep is tried again by itself.
    const target = { what: "container", id: containerIdOf(web, 0, 1) } as const;
    const error = { code: "failed", message: "busy", permanent: false };
    bench.feed({ kind: "sweep-ended", target, error });
    const failedAt = bench.now;
    while (!bench.kinds.includes("sweep")) bench.at(defined(bench.machine.deadline(), "a deadline"));
    expect(bench.now - failedAt).toBe(1_000);
  });

  test("hears of ends that came before it had listed", () => {
    const before = new Bench().admit(web).up();
    const machine = new KeeperMachine(keeperDefaults);
    expect(
      machine.step({ kind: "container-ended", status: container(0, "exited", { exitCode: 1 }) }, 0),
    ).toEqual([]);
    const records = [...before.disk.values()];
    const effects = machine.step(
      { kind: "start", records, containers: [container(0, "running")], endpoints: [endpoint], wallMs: 0 },
      0,
    );
    expect(effects.some((effect) => effect.kind === "step" && effect.step === "remove")).toBe(true);
  });
});

describe("names", () => {
  test("are safe, readable, and different for each run of each promise", () => {
    const odd = { ...web, name: `-Shop_${"x".repeat(80)}` };
    for (const id of [containerIdOf(web, 0, 12), containerIdOf(odd, 0, 1_000_000), endpointIdOf(odd)])
      expect(id).toMatch(/^[a-z0-9][a-z0-9.-]{0,126}$/);
    expect(containerIdOf(web, 0, 0)).toStartWith("web-0-");
    const ids = [
      containerIdOf(web, 0, 0),
      containerIdOf(web, 0, 1),
      containerIdOf({ ...web, id: "g/2" }, 0, 0),
      containerIdOf({ ...web, id: "h/1" }, 0, 0),
    ];
    expect(new Set(ids).size).toBe(4);
  });
});
