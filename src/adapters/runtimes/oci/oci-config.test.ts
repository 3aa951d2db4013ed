import { expect, test } from "bun:test";
import type { ContainerSpec } from "../../../ports/container-runtime.ts";
import { ociMounts } from "./config-mounts.ts";
import { idRange } from "./id-ranges.ts";
import { ociConfig, type ConfigInput } from "./oci-config.ts";

const spec: ContainerSpec = {
  id: "web-0",
  labels: {},
  layers: ["/layers/1"],
  args: ["/bin/true"],
  env: [],
  workingDirectory: "",
  user: "",
  hostname: "web-0",
  cpuMillis: 0,
  memoryBytes: 0,
};

function config(changes: Partial<ContainerSpec>, others: Partial<ConfigInput> = {}): object {
  return ociConfig({
    spec: { ...spec, ...changes },
    mounts: changes.mounts ?? [],
    root: "/containers/web-0/merged",
    user: { uid: 0, gid: 0, additionalGids: [] },
    cgroup: "/muster/1/web-0",
    capabilities: ["CAP_CHOWN"],
    pidsMax: 4_096,
    filesMax: 1_024,
    oomScoreAdj: 0,
    hasSwapLimit: true,
    files: [],
    sandbox: undefined,
    idRange: undefined,
    knowsRecursiveReadOnly: true,
    ...others,
  });
}

test("limits: quota and weight, memory with swap where the kernel counts it, processes", () => {
  const limits = { cpuMillis: 250, memoryBytes: 1_000_000, pids: 7 };
  expect(config(limits)).toMatchObject({
    linux: {
      resources: {
        cpu: { quota: 25_000, period: 100_000, shares: 256 },
        memory: { limit: 1_000_000, swap: 1_000_000 },
        pids: { limit: 7 },
      },
    },
  });
  expect(JSON.stringify(config(limits, { hasSwapLimit: false }))).not.toContain('"swap"');
});

test("nothing limited: the node's bound on processes, and no others", () => {
  const { linux } = { linux: undefined, ...config({}) };
  expect(linux).toMatchObject({ resources: { pids: { limit: 4_096 } } });
  expect(JSON.stringify(linux)).not.toContain('"memory":{');
  expect(JSON.stringify(linux)).not.toContain('"quota"');
});

test("defaults are the safe ones", () => {
  expect(config({})).toMatchObject({
    root: { readonly: false },
    process: { noNewPrivileges: true, cwd: "/", capabilities: { bounding: ["CAP_CHOWN"] } },
    linux: {
      maskedPaths: expect.arrayContaining(["/proc/kcore", "/sys/firmware"]),
      readonlyPaths: expect.arrayContaining(["/proc/sys"]),
      sysctl: { "net.ipv4.ip_unprivileged_port_start": "0" },
    },
  });
  expect(config({ readOnlyRoot: true, allowNewPrivileges: true })).toMatchObject({
    root: { readonly: true },
    process: { noNewPrivileges: false },
  });
});

test("a sandbox's namespaces and memory are joined, not made", () => {
  const sandbox = { ipcNamespace: "/s/ipc", sharedMemory: "/s/shm" };
  const made = config({ networkNamespace: "/run/netns/web-0" }, { sandbox });
  expect(made).toMatchObject({
    linux: {
      namespaces: expect.arrayContaining([
        { type: "ipc", path: "/s/ipc" },
        { type: "network", path: "/run/netns/web-0" },
        { type: "pid" },
        { type: "cgroup" },
      ]),
    },
    mounts: expect.arrayContaining([expect.objectContaining({ destination: "/dev/shm", source: "/s/shm" })]),
  });
});

test("a user namespace: ids shifted, nothing new of a network that is the machine's", () => {
  const range = idRange(1_073_741_824);
  const made = () => config({ networkNamespace: "/run/netns/web-0" }, { idRange: range });
  expect(JSON.stringify(made())).not.toContain('"sysctl":');
  expect(made()).toMatchObject({
    linux: {
      uidMappings: [{ containerID: 0, hostID: 1_073_741_824, size: 65_536 }],
      maskedPaths: expect.arrayContaining(["/sys/class/net"]),
    },
    mounts: expect.arrayContaining([expect.objectContaining({ destination: "/sys", type: "bind" })]),
  });
});

test("mounts come after the system's, parents before what is in them, and take the place of the system's own", () => {
  const mounts = ociMounts({
    mounts: [
      { kind: "tmpfs", target: "/a/b/c", sizeBytes: 0 },
      { kind: "tmpfs", target: "/a", sizeBytes: 4_096 },
      { kind: "tmpfs", target: "/dev/shm", sizeBytes: 8_192 },
    ],
    files: [{ path: "/etc/hosts", source: "/containers/web-0/hosts", isReadOnly: false }],
    sharedMemory: undefined,
    knowsRecursiveReadOnly: true,
    isNetworkForeign: false,
    isIpcForeign: false,
  });
  const targets = mounts.map(({ destination }) => destination);
  expect(targets.slice(-4)).toEqual(["/a", "/dev/shm", "/etc/hosts", "/a/b/c"]);
  expect(mounts.filter(({ destination }) => destination === "/dev/shm")).toEqual([
    expect.objectContaining({ options: expect.arrayContaining(["size=8192"]) }),
  ]);
});
