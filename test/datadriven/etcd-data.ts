import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseTranscript, type TranscriptCase } from "../../src/core/consensus/transcript.ts";

const packaged = join(import.meta.dir, "../../src/core/consensus/testdata/etcd-raft");

export interface TranscriptFile {
  readonly name: string;
  readonly cases: readonly TranscriptCase[];
}

/** The scenarios in a folder of etcd-io/raft's test data, by name; MUSTER_ETCD_RAFT names another copy. */
export async function readEtcdFolder(folder: string): Promise<TranscriptFile[]> {
  // The further scenarios are this repository's own selection: other copies do not have them.
  const root = folder === "more" ? packaged : (process.env["MUSTER_ETCD_RAFT"] ?? packaged);
  const names = (await readdir(join(root, folder))).filter((name) => name.endsWith(".txt")).sort();
  const read = async (name: string): Promise<TranscriptFile> => {
    const text = await Bun.file(join(root, folder, name)).text();
    return { name, cases: parseTranscript(text) };
  };
  return Promise.all(names.map(read));
}
