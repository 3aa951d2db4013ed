/** From what a container is to be, to what the launcher is told; refusals are for people. */
import type { ContainerSpec, ExecRequest } from "../../../ports/container-runtime.ts";
import { resolveImageUser } from "../oci/image-user.ts";
import { grantCapabilities, ownCapabilities } from "../oci/capabilities.ts";
import { withDefaults } from "../oci/oci-config.ts";
import { capabilityNumbers } from "./capability-numbers.ts";
import type { LaunchRequest } from "./launch-request.ts";
import { findProgram, whyNoDirectory } from "./program-path.ts";

export type LaunchPlan =
  { readonly ok: true; readonly request: LaunchRequest } | { readonly ok: false; readonly detail: string };

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What takes a file tree of its own cannot be had without one, and is not silently left out. */
export function refusedField(spec: ContainerSpec): string | undefined {
  const asked: readonly (readonly [string, boolean])[] = [
    ["mounts", (spec.mounts ?? []).length > 0],
    ["files", (spec.files ?? []).length > 0],
    ["a read-only root", spec.readOnlyRoot === true],
    ["a terminal", spec.terminal === true],
    ["a user namespace", spec.userNamespace === true],
    ["a limit of ephemeral disk", (spec.ephemeralBytes ?? 0) > 0],
  ];
  const [field] = asked.find(([, isAsked]) => isAsked) ?? [];
  return field === undefined
    ? undefined
    : `the process runtime runs programs in the machine's own file tree: ${field} cannot be given`;
}

export function launchRequestOf(
  spec: ContainerSpec,
  { gate, pidsMax }: { readonly gate: string; readonly pidsMax: number },
): LaunchPlan {
  const [program] = spec.args;
  if (program === undefined) return { ok: false, detail: "no command is given" };
  const workingDirectory = spec.workingDirectory === "" ? "/" : spec.workingDirectory;
  const env = withDefaults(spec.env, [defaultPath, `HOSTNAME=${spec.hostname}`]);
  const why = whyNoDirectory(workingDirectory);
  if (why !== undefined) return { ok: false, detail: why };
  const found = findProgram(program, env, workingDirectory);
  if (!found.ok) return found;
  const who = userOf(spec.user);
  if (!who.ok) return who;
  const granted = grantCapabilities(spec.capabilities, ownCapabilities());
  if (!granted.ok) return granted;
  return {
    ok: true,
    request: {
      gate,
      path: found.path,
      args: [...spec.args],
      env,
      workingDirectory,
      ...who.ids,
      capabilities: [...capabilityNumbers(granted.names)],
      noNewPrivileges: spec.allowNewPrivileges !== true,
      ...(spec.networkNamespace === undefined ? {} : { networkNamespace: spec.networkNamespace }),
      limits: {
        cpuMillis: spec.cpuMillis,
        memoryBytes: spec.memoryBytes,
        pids: (spec.pids ?? 0) || pidsMax,
      },
      groupFiles: [],
      hasOwnSession: true,
    },
  };
}

export function execRequestOf(base: LaunchRequest, request: ExecRequest): LaunchPlan {
  const [program] = request.args;
  if (program === undefined) return { ok: false, detail: "no command is given" };
  const isTerminal = request.terminal !== undefined;
  const names = new Set(request.env.map((line) => line.split("=", 1)[0]));
  const inherited = base.env.filter((line) => !names.has(line.split("=", 1)[0]));
  const env = withDefaults([...inherited, ...request.env], isTerminal ? ["TERM=xterm-256color"] : []);
  const workingDirectory = request.workingDirectory ?? base.workingDirectory;
  const found = findProgram(program, env, workingDirectory);
  const who = request.user === undefined ? undefined : userOf(request.user);
  if (who?.ok === false) return who;
  const { gate: _gate, ...rest } = base;
  return {
    ok: true,
    request: {
      ...rest,
      ...(who === undefined ? {} : who.ids),
      // What is not found is the launcher's to say, by the exit code that shells give.
      path: found.ok ? found.path : program.includes("/") ? program : "",
      args: [...request.args],
      env,
      workingDirectory,
      hasOwnSession: !isTerminal,
    },
  };
}

type Who =
  | { readonly ok: true; readonly ids: Pick<LaunchRequest, "uid" | "gid" | "additionalGids"> }
  | { readonly ok: false; readonly detail: string };

/** Looked up in the machine's own files. */
function userOf(name: string): Who {
  const result = resolveImageUser("/", name);
  if (!result.ok) return { ok: false, detail: result.detail.replace("in the image", "on this machine") };
  const { uid, gid, additionalGids } = result.user;
  return { ok: true, ids: { uid, gid, additionalGids: [...additionalGids] } };
}
