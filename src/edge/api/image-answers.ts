/** What the API answers about images, as schemas. */
import * as v from "valibot";
import type { ImageDetails, PruneReport, StoredImage } from "../../ports/image-store.ts";
import type { ImageEvent } from "../../node/node-images.ts";

const { array, boolean, exactOptional, number, record, strictObject, string } = v;
const count = v.pipe(number(), v.safeInteger(), v.minValue(0));
const texts = array(string());

function of<T>() {
  return <Schema extends v.GenericSchema<unknown, T>>(schema: Schema): Schema => schema;
}

const image = {
  reference: string(),
  digest: string(),
  layers: texts,
  config: strictObject({
    entrypoint: texts,
    command: texts,
    env: texts,
    workingDirectory: string(),
    user: string(),
    stopSignal: exactOptional(string()),
  }),
  sizeBytes: count,
};
const stored = { ...image, pulledAtMs: count, isInUse: boolean(), isReplaced: boolean() };

export const imagesAnswer = of<readonly StoredImage[]>()(array(strictObject(stored)));
export const pruneAnswer = of<PruneReport>()(strictObject({ images: texts, bytes: count }));
export const imageAnswer = of<ImageDetails>()(
  strictObject({
    ...stored,
    platform: string(),
    created: exactOptional(string()),
    labels: record(string(), string()),
    exposedPorts: texts,
    volumes: texts,
    layerDetails: array(strictObject({ digest: string(), diffId: string(), sizeBytes: count })),
  }),
);
export const imageEventAnswer = of<ImageEvent>()(
  v.union([
    strictObject({
      kind: v.literal("progress"),
      progress: strictObject({ bytes: count, bytesTotal: count, layersDone: count, layersTotal: count }),
    }),
    strictObject({ kind: v.literal("done"), image: strictObject(image) }),
  ]),
);
