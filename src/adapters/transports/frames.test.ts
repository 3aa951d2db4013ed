import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  FrameDecoder,
  FrameError,
  decodeNamed,
  encodeFrame,
  fragmentBytes,
  frameTypes,
  type Message,
} from "./frames.ts";
import { Outbox } from "./outbox.ts";

const sendable = [frameTypes.post, frameTypes.call, frameTypes.answer, frameTypes.data] as const;

function drain(outbox: Outbox): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let piece = outbox.take(128 * 1024); piece !== undefined; piece = outbox.take(128 * 1024))
    pieces.push(piece);
  return pieces;
}

/** The bytes of `pieces`, cut anew wherever `cuts` say. */
function recut(pieces: readonly Uint8Array[], cuts: readonly number[]): Uint8Array[] {
  const whole = Buffer.concat(pieces);
  const result: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; at < whole.length; i++) {
    const size = cuts.length === 0 ? whole.length : (cuts[i % cuts.length] ?? 1);
    result.push(whole.subarray(at, at + size));
    at += size;
  }
  return result;
}

test("messages of any size survive any cutting of the byte stream, each lane in order", () => {
  const size = fc.oneof(
    fc.nat(300),
    fc.constantFrom(fragmentBytes - 1, fragmentBytes, fragmentBytes + 1, 200_000),
  );
  const message = fc.record({ type: fc.constantFrom(...sendable), size, isBulk: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 90_000 }), { maxLength: 4 }),
      (list, cuts) => {
        fc.pre(cuts.every((cut) => cut > 50) || list.every((item) => item.size < 1_000));
        const outbox = new Outbox();
        const sent = list.map((item, id) => ({
          ...item,
          id,
          body: new Uint8Array(item.size).map((_, i) => (i * 7 + id) & 255),
        }));
        for (const item of sent)
          outbox.push(
            item.isBulk ? "bulk" : "urgent",
            item.type,
            item.id,
            item.body.subarray(0, 100),
            item.body.subarray(100),
          );
        const decoder = new FrameDecoder();
        const got = recut(drain(outbox), cuts).flatMap((piece) => decoder.push(piece));
        expect(outbox.queuedBytes).toBe(0);
        const expected = [...sent.filter((item) => !item.isBulk), ...sent.filter((item) => item.isBulk)];
        expect(got.map((m) => [m.type, m.id])).toEqual(expected.map((m) => [m.type, m.id]));
        got.forEach((m, i) => expect(Buffer.compare(m.body, expected[i]?.body ?? new Uint8Array())).toBe(0));
      },
    ),
    { numRuns: 150 },
  );
});

test("an urgent message overtakes a bulk one between its fragments", () => {
  const outbox = new Outbox();
  outbox.push("bulk", frameTypes.data, 1, new Uint8Array(1_000_000));
  const decoder = new FrameDecoder();
  const first = decoder.push(outbox.take(64 * 1024) ?? new Uint8Array());
  outbox.push("urgent", frameTypes.post, 2, new Uint8Array(10));
  const later = drain(outbox).flatMap((piece) => decoder.push(piece));
  expect([...first, ...later].map((m) => m.id)).toEqual([2, 1]);
});

test("arbitrary bytes give messages or a FrameError, and never more memory than was sent", () => {
  const feed = (chunks: readonly Uint8Array[]): number => {
    const decoder = new FrameDecoder();
    let bytes = 0;
    try {
      for (const chunk of chunks) for (const message of decoder.push(chunk)) bytes += message.body.byteLength;
    } catch (error) {
      expect(error).toBeInstanceOf(FrameError);
    }
    return bytes;
  };
  const noise = fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 });
  // Headers that look right, so that the walk gets past the first check.
  const nearly = fc.array(
    fc
      .record({ length: fc.nat(80), type: fc.nat(32), id: fc.nat(3), body: fc.uint8Array({ maxLength: 80 }) })
      .map((f) => {
        const frame = encodeFrame(frameTypes.post, f.id, f.body);
        frame[3] = f.length;
        frame[4] = f.type;
        return frame;
      }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(fc.oneof(noise, nearly), (chunks) => {
      const sent = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
      expect(feed(chunks)).toBeLessThanOrEqual(sent);
    }),
    { numRuns: 5_000 },
  );
});

test("bounds: frame length, message length, messages at once, empty fragments, cut names", () => {
  const push =
    (...frames: readonly Uint8Array[]) =>
    (): Message[] => {
      const decoder = new FrameDecoder(1_000);
      return frames.flatMap((frame) => decoder.push(frame));
    };
  expect(push(new Uint8Array([0x7f, 0xff, 0xff, 0xff, 10, 0, 0, 0, 1]))).toThrow(FrameError);
  expect(push(new Uint8Array([0, 0, 0, 4, 10, 0, 0, 0, 1]))).toThrow(FrameError);
  const more = (id: number, size: number): Uint8Array =>
    encodeFrame(frameTypes.more, id, new Uint8Array(size));
  expect(push(more(1, 600), more(1, 600))).toThrow(/beyond/);
  expect(push(more(1, 600), encodeFrame(frameTypes.call, 1, new Uint8Array(600)))).toThrow(/beyond/);
  expect(push(more(1, 1), more(2, 1), more(3, 1), more(4, 1), more(5, 1))).toThrow(/at once/);
  expect(push(more(1, 0))).toThrow(FrameError);
  expect(push(encodeFrame(frameTypes.post, 1, new Uint8Array(900)))()).toHaveLength(1);
  expect(() => decodeNamed(new Uint8Array())).toThrow(FrameError);
  expect(() => decodeNamed(new Uint8Array([4, 65]))).toThrow(FrameError);
  expect(() => decodeNamed(new Uint8Array([1, 0xff]))).toThrow(FrameError);
});
