/** The unit with which systemd keeps an agent, as text. */

export interface UnitOptions {
  /** The words that start the program, without its arguments. */
  readonly command: readonly string[];
  readonly dataDirectory: string;
  /** Further words for `muster up`. */
  readonly flags: readonly string[];
}

/** The first line of every unit of ours: one without it belongs to somebody else and is left alone. */
export const unitMark = "# Written by muster install; muster uninstall removes it.";

/**
 * Why it is as it is:
 *
 * - `KillMode=process` and `Delegate`: containers and their monitors outlive the agent, and their control groups are the agent's.
 * - Nothing that gives the agent a mount namespace of its own (ProtectSystem, PrivateTmp, ProtectKernel...): mounts made in
 *   it would end with the agent, and the next one could not adopt what runs on them.
 * - Nothing that containers would inherit as a filter or a flag (NoNewPrivileges, SystemCallFilter, RestrictSUIDSGID...): what a
 *   container may do is said by its spec.
 * - The engine takes code and settings from variables of these names: a root service must not.
 */
export function systemdUnit(options: UnitOptions): string {
  const start = [...options.command, "up", "--data-dir", options.dataDirectory, ...options.flags];
  return `${unitMark}
[Unit]
Description=Muster agent
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${start.map(quoted).join(" ")}
EnvironmentFile=-/etc/muster/muster.env
UnsetEnvironment=BUN_OPTIONS BUN_INSPECT BUN_BE_BUN BUN_CONFIG NODE_OPTIONS NODE_EXTRA_CA_CERTS LD_PRELOAD LD_LIBRARY_PATH
Environment=DO_NOT_TRACK=1
KillMode=process
TimeoutStopSec=20
Restart=always
RestartSec=1
Delegate=yes
TasksMax=infinity
LimitNPROC=infinity
LimitNOFILE=524288
OOMScoreAdjust=-500
KeyringMode=private
ConfigurationDirectory=muster
ConfigurationDirectoryMode=0700

[Install]
WantedBy=multi-user.target
`;
}

/** One word of a command line, as systemd.service(5) and systemd.syntax(7) read it: nothing is expanded. */
function quoted(word: string): string {
  const text = word
    .replaceAll("\\", "\\\\")
    .replaceAll('"', '\\"')
    .replaceAll("%", "%%")
    .replaceAll("$", "$$$$");
  return /^[\w@%+=:,./$[\]-]+$/.test(text) ? text : `"${text}"`;
}
