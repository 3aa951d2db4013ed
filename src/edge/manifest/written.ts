/** A resolved spec written as a manifest again, every field in its one long form: `parseManifests` gives the same spec. */
import type { Probe, ProbeAction } from "../../model/probe.ts";
import type { ContainerTemplate, DeploymentSpec, Mount, PortSpec } from "../../model/spec.ts";
import { exactBytes, formatSpan, formatCpu } from "./quantity.ts";

/** Texts, lists and maps: what YAML and JSON have in common with a manifest. Undefined: left out. */
export type Written = string | readonly Written[] | { readonly [key: string]: Written | undefined };

export function writtenSpec(spec: DeploymentSpec): { readonly [key: string]: Written | undefined } {
  const { template } = spec;
  return {
    name: spec.name,
    namespace: spec.namespace,
    replicas: `${spec.replicas}`,
    labels: template.labels,
    restart: template.restart,
    stopTimeout: formatSpan(template.stopTimeoutMs),
    runtime: template.runtime,
    hostname: template.hostname,
    initContainers: template.initContainers.map((container) => {
      const { ports: _ports, probes: _probes, ...rest } = writtenContainer(container);
      return rest;
    }),
    containers: template.containers.map(writtenContainer),
  };
}

export function writtenContainer(container: ContainerTemplate): {
  readonly [key: string]: Written | undefined;
} {
  const { resources, probes, preStop, capabilities, logs } = container;
  return {
    name: container.name,
    image: container.image,
    pull: container.pull,
    entrypoint: container.entrypoint,
    command: container.command,
    env: container.env,
    workingDir: container.workingDirectory,
    user: container.user,
    resources: {
      cpu: formatCpu(resources.cpuMillis),
      memory: exactBytes(resources.memoryBytes),
      pids: `${resources.pids}`,
      disk: exactBytes(resources.ephemeralBytes),
    },
    ports: container.ports.map(writtenPort),
    probes: {
      startup: probes.startup === undefined ? undefined : writtenProbe(probes.startup),
      readiness: probes.readiness === undefined ? undefined : writtenProbe(probes.readiness),
      liveness: probes.liveness === undefined ? undefined : writtenProbe(probes.liveness),
    },
    preStop: preStop === undefined ? undefined : writtenAction(preStop),
    stopSignal: container.stopSignal,
    capabilities: { add: capabilities.add, drop: capabilities.drop },
    readOnlyRoot: `${container.readOnlyRoot}`,
    allowNewPrivileges: `${container.allowNewPrivileges}`,
    userNamespace: `${container.userNamespace}`,
    stdin: container.stdin === true ? "true" : undefined,
    tty: container.terminal === true ? "true" : undefined,
    mounts: container.mounts.map(writtenMount),
    files: container.files.map(({ path, content, mode }) => ({
      path,
      content,
      mode: mode.toString(8).padStart(4, "0"),
    })),
    logs: { size: exactBytes(logs.fileBytes), files: `${logs.files}` },
  };
}

export function writtenPort({ container, published, protocol }: PortSpec): string {
  return `${published === undefined ? "" : `${published}:`}${container}/${protocol}`;
}

export function writtenMount(mount: Mount): { readonly [key: string]: Written } {
  const { target } = mount;
  if (mount.kind === "tmpfs") return { target, tmpfs: exactBytes(mount.sizeBytes) };
  const readOnly = `${mount.readOnly}`;
  return mount.kind === "bind"
    ? { target, bind: mount.source, readOnly }
    : { target, volume: mount.volume, readOnly };
}

function writtenProbe(probe: Probe): { readonly [key: string]: Written } {
  return {
    ...writtenAction(probe.action),
    initialDelay: formatSpan(probe.initialDelayMs),
    period: formatSpan(probe.periodMs),
    timeout: formatSpan(probe.timeoutMs),
    successThreshold: `${probe.successThreshold}`,
    failureThreshold: `${probe.failureThreshold}`,
  };
}

function writtenAction(action: ProbeAction): { readonly [key: string]: Written } {
  switch (action.kind) {
    case "exec":
      return { exec: action.command };
    case "http": {
      const { port, path, scheme, headers } = action;
      return { http: { port: `${port}`, path, scheme, headers } };
    }
    case "tcp":
      return { tcp: `${action.port}` };
    case "grpc":
      return { grpc: { port: `${action.port}`, service: action.service } };
  }
}
