/** What the launcher is told: in a file of the container's directory, so that no secret stands on a command line. */
import * as v from "valibot";

const id = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 2));

export const launchRequestSchema = v.object({
  /** A named pipe to wait at before anything else; undefined: begin at once. */
  gate: v.optional(v.string()),
  /** The program's file, and the arguments it is given, its name first. */
  path: v.string(),
  args: v.array(v.string()),
  env: v.array(v.string()),
  workingDirectory: v.string(),
  uid: id,
  gid: id,
  additionalGids: v.array(id),
  /** Numbers of the capabilities that the program and its children may ever hold. */
  capabilities: v.array(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(63))),
  noNewPrivileges: v.boolean(),
  networkNamespace: v.optional(v.string()),
  /** What the agent gives the control group; 0 means no limit. */
  limits: v.object({ cpuMillis: v.number(), memoryBytes: v.number(), pids: v.number() }),
  /** `cgroup.procs` of every tree. */
  groupFiles: v.array(v.string()),
  /** Of its own, so that no terminal of the agent's is its. */
  hasOwnSession: v.boolean(),
});

export type LaunchRequest = v.InferOutput<typeof launchRequestSchema>;
