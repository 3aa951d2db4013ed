/** The image of a container, and what stands for it where there is none. */
import type { ReplicaTemplate } from "../model/spec.ts";
import { needsImages } from "../model/template.ts";
import type { Image } from "../ports/image-store.ts";

const noImage: Image = {
  reference: "none",
  digest: "none",
  layers: [],
  config: { entrypoint: [], command: [], env: [], workingDirectory: "", user: "" },
  sizeBytes: 0,
};

/** `find` is asked only when the replica's runtime runs images at all. */
export async function imageOf(
  template: ReplicaTemplate,
  find: () => Promise<Image | undefined>,
): Promise<Image | undefined> {
  return needsImages(template) ? find() : noImage;
}
