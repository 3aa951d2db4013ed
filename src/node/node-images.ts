/** The images of this node, as its edges see them: what users do with them, and what must stay because it runs. */
import type { PromiseTerms } from "../model/promise.ts";
import type { Problem } from "../model/problem.ts";
import { ProblemError } from "../model/problem.ts";
import type { PullPolicy } from "../model/spec.ts";
import type { Clock } from "../ports/clock.ts";
import { imagesOf } from "../model/template.ts";
import {
  type Image,
  type ImageDetails,
  ImageError,
  type ImageErrorInfo,
  type ImageExchange,
  type ImageStore,
  type ImageUse,
  type PruneReport,
  type PullProgress,
  type StoredImage,
} from "../ports/image-store.ts";

/** One step of work that is watched: how far it is, and each image as it is done. */
export type ImageEvent =
  | { readonly kind: "progress"; readonly progress: PullProgress }
  | { readonly kind: "done"; readonly image: Image };

/** Rejects with ProblemError throughout. It concerns the node that is asked, never another one. */
export interface ImagesApi {
  list(): Promise<readonly StoredImage[]>;
  inspect(reference: string): Promise<ImageDetails>;
  /** Ends with `done`; leaving it early gives the pull up. */
  pull(reference: string, options: { readonly pull: PullPolicy }): AsyncGenerator<ImageEvent>;
  remove(reference: string): Promise<PruneReport>;
  prune(options: { readonly all: boolean }): Promise<PruneReport>;
  /** Takes the images of an archive that the node can see at `path`; one `done` for each. */
  load(path: string, options: { readonly name?: string }): AsyncGenerator<ImageEvent>;
  /** An archive as its pieces. */
  save(references: readonly string[]): AsyncGenerator<Uint8Array>;
  push(reference: string, destination: string): AsyncGenerator<ImageEvent>;
}

export interface NodeImagesPorts {
  readonly images: ImageStore & ImageExchange;
  readonly clock: Clock;
  readonly book: { entries(): Iterable<HeldImages> };
}

/** A promise as far as images are concerned. */
interface HeldImages {
  readonly terms: PromiseTerms;
  readonly containers: readonly { readonly imageDigest?: string }[];
}

/** Between two words on how far a pull is. */
const progressPauseMs = 100;

export class NodeImages implements ImagesApi {
  readonly #images: ImageStore & ImageExchange;
  readonly #clock: Clock;
  readonly #book: NodeImagesPorts["book"];

  constructor(ports: NodeImagesPorts) {
    this.#images = ports.images;
    this.#clock = ports.clock;
    this.#book = ports.book;
  }

  /** From here on nothing that the book needs is removed. */
  start(): void {
    this.#images.protect(() => imagesInUse(this.#book.entries()));
  }

  list(): Promise<readonly StoredImage[]> {
    return told(() => this.#images.list());
  }

  inspect(reference: string): Promise<ImageDetails> {
    return told(() => this.#images.inspect(reference));
  }

  async *pull(reference: string, options: { readonly pull: PullPolicy }): AsyncGenerator<ImageEvent> {
    yield* watched(this.#clock, async (signal, onProgress) => [
      await this.#images.ensure(reference, { signal, pull: options.pull, onProgress }),
    ]);
  }

  async *load(path: string, { name }: { readonly name?: string }): AsyncGenerator<ImageEvent> {
    yield* watched(this.#clock, (signal, onProgress) =>
      this.#images.load(path, { signal, onProgress, ...(name === undefined ? {} : { name }) }),
    );
  }

  async *save(references: readonly string[]): AsyncGenerator<Uint8Array> {
    const { signal } = new AbortController();
    const pieces = this.#images.save(references, { signal });
    try {
      for (;;) {
        const { done, value } = await told(() => pieces.next());
        if (done === true) return;
        yield value;
      }
    } finally {
      await pieces.return(undefined);
    }
  }

  async *push(reference: string, destination: string): AsyncGenerator<ImageEvent> {
    yield* watched(this.#clock, async (signal, onProgress) => [
      await this.#images.push(reference, destination, { signal, onProgress }),
    ]);
  }

  remove(reference: string): Promise<PruneReport> {
    return told(() => this.#images.remove(reference));
  }

  prune(options: { readonly all: boolean }): Promise<PruneReport> {
    return told(() => this.#images.prune(options));
  }
}

/** What must stay: the images of all that is promised, and those that run under a name that has moved on. */
function imagesInUse(entries: Iterable<HeldImages>): ImageUse {
  const references: string[] = [];
  const digests: string[] = [];
  for (const { terms, containers } of entries) {
    references.push(...imagesOf(terms.template));
    for (const { imageDigest } of containers) if (imageDigest !== undefined) digests.push(imageDigest);
  }
  return { references, digests };
}

/** Progress at the reader's pace and not too often: what was overtaken meanwhile is left out. */
async function* watched(
  clock: Clock,
  work: (signal: AbortSignal, onProgress: (progress: PullProgress) => void) => Promise<readonly Image[]>,
): AsyncGenerator<ImageEvent> {
  const abort = new AbortController();
  const news: { latest?: PullProgress; isOver: boolean } = { isOver: false };
  const working = told(() => work(abort.signal, (progress) => void (news.latest = progress)));
  const over = working.then(
    () => void (news.isOver = true),
    () => void (news.isOver = true),
  );
  try {
    while (!news.isOver) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const cancel = clock.at(clock.now() + progressPauseMs, resolve);
      await Promise.race([promise, over]);
      cancel();
      const { latest } = news;
      delete news.latest;
      if (latest !== undefined) yield { kind: "progress", progress: latest };
    }
    for (const image of await working) yield { kind: "done", image };
  } finally {
    abort.abort();
  }
}

/** The port's failures as problems. */
async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new ProblemError(problemOfImage(error.message, error.info), { cause: error });
  }
}

const nextSteps: Readonly<Partial<Record<ImageErrorInfo["code"], string>>> = {
  "not-found": "check the name and the tag",
  "not-here": "muster image ls shows what is here; muster image pull brings it",
  "in-use": "delete or change the deployments that need it first: muster promises --node",
  unauthorized: "log in, or look at the name",
  "registry-unreachable": "look at the registry's name and at this machine's network",
  "digest-mismatch": "something between here and the registry changes what it sends; nothing of it was kept",
  "plain-http": "exempt it with plainHttpRegistries if that is meant",
  "disk-full": "make room, or remove what no deployment needs: muster image prune --all",
};

const codes: Readonly<Partial<Record<ImageErrorInfo["code"], Problem["code"]>>> = {
  "bad-reference": "invalid-request",
  "not-found": "not-found",
  "not-here": "not-found",
  "in-use": "conflict",
};

function problemOfImage(message: string, info: ImageErrorInfo): Problem {
  const next = nextSteps[info.code];
  return { code: codes[info.code] ?? "image-failed", message, ...(next === undefined ? {} : { next }) };
}
