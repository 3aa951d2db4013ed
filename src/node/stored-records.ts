/** Reading tables that the node can do without: copies of what other nodes have, and caches. */
import type * as v from "valibot";
import type { Logger } from "../ports/logger.ts";
import type { Store, StoreTable, StoreWrite } from "../ports/store.ts";
import { decodeAs } from "../wire/codec.ts";

/**
 * The records of a table that can be read. One that cannot (a newer version wrote it, or a disk changed it) must not keep
 * the node from starting: it is moved to the table `set-aside`, where a later version can find it, and that is said.
 */
export async function readableRecords<Schema extends v.GenericSchema>(
  { store, logger }: { readonly store: Store; readonly logger: Logger },
  table: Extract<StoreTable, "directory" | "members">,
  schema: Schema,
): Promise<readonly v.InferOutput<Schema>[]> {
  const values: v.InferOutput<Schema>[] = [];
  const writes: StoreWrite[] = [];
  for (const { key, value } of await store.scan(table)) {
    try {
      values.push(decodeAs(schema, value));
    } catch (error) {
      logger.error("a stored record cannot be read; it is set aside", {
        table,
        key,
        bytes: value.length,
        error: String(error),
      });
      writes.push(
        { kind: "put", table: "set-aside", key: `${table}/${key}`, value },
        { kind: "delete", table, key },
      );
    }
  }
  try {
    if (writes.length > 0) await store.commit(writes);
  } catch (error) {
    // It is tried again by the next start; this one goes on without them.
    logger.warn("records could not be set aside", { table, error: String(error) });
  }
  return values;
}
