/** What the help of each command shows at its end: command lines as they are typed. A test holds each against its command's flags. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  up: [
    "muster up --detach",
    "muster up --join 10.0.0.1:7440 --invite-file /etc/muster/invite",
    "muster up --zone rack2 --label disk=ssd --memory 12Gi",
    "muster up --show-config",
  ],
  down: ["muster down", "muster down --keep"],
  status: ["muster status", "muster status --json"],
  invite: ["muster invite", "muster invite --ttl 10m --token > invite"],
  nodes: ["muster nodes", "muster nodes --json"],
  run: [
    "muster run nginx:1.27 --name web -p 8080:80 --replicas 3 --wait",
    "muster run busybox -e GREETING=hello -- sh -c 'echo $GREETING; sleep 60'",
    "muster run nginx:1.27 -p 8080:80 --manifest > web.yaml",
    "muster run redis:7 -v data:/data --user 999 --cap-drop ALL --read-only --memory 256Mi",
  ],
  apply: ["muster apply -f web.yaml --wait", "muster apply -f deployments/", "muster apply -f - < web.yaml"],
  plan: ["muster plan -f web.yaml", "muster plan -f deployments/ && echo nothing to do"],
  explain: ["muster explain", "muster explain spec.containers.resources", "muster explain -r"],
  ps: ["muster ps", "muster ps -A --json"],
  inspect: [
    "muster inspect web",
    "muster inspect shop/web --json",
    "muster inspect web --manifest > web.yaml",
  ],
  scale: ["muster scale web 5 --wait", "muster scale shop/web 0"],
  logs: ["muster logs web -f", "muster logs web/2 --tail 20 -t"],
  exec: ["muster exec -it web -- sh", "muster exec web/2 -e DEBUG=1 -- env"],
  attach: ["muster attach web/0"],
  cp: ["muster cp web/0:/etc/hostname .", "muster cp site/ web/0:/srv/"],
  stats: ["muster stats web"],
  top: ["muster top"],
  doctor: ["muster doctor"],
  events: ["muster events web", "muster events web -f --json"],
  promises: ["muster promises", "muster promises --node"],
  cohort: ["muster cohort show web"],
  restart: ["muster restart web --wait", "muster restart web/2", "muster restart web/2 -c proxy"],
  stop: ["muster stop web --wait"],
  image: [
    "muster image pull nginx:1.27",
    "docker save app:1 | muster image load -",
    "muster image save app:1 -o app.tar",
    "muster image push app:1 registry.example/team/app:1",
    "muster image prune --all",
  ],
  delete: ["muster delete web --wait --timeout 2m"],
  install: [
    "muster install --dry-run",
    "muster install",
    "muster install -- --join 10.0.0.1:7440 --invite-file /etc/muster/invite",
  ],
  uninstall: ["muster uninstall"],
  completion: [
    "source <(muster completion bash)",
    'muster completion zsh > "${fpath[1]}/_muster"',
    "muster completion fish > ~/.config/fish/completions/muster.fish",
  ],
  lab: ["muster lab up 3", "muster lab exec n1 -- muster ps", "muster lab kill n2", "muster lab down"],
  chaos: ["muster chaos web"],
};

export function exampleWords(command: string): string {
  const lines = examples[command] ?? [];
  return lines.length === 0 ? "" : `\nExamples:\n${lines.map((line) => `  ${line}\n`).join("")}`;
}

export const rootHelp = `
Examples:
  muster up --detach                        this machine is a fleet of one
  muster run nginx:1.27 --name web --wait   and runs a web server
  muster ps
  muster <command> --help                   options and examples of a command

Exit codes: 0 done, 1 refused or failed, 2 not understood, 3 no agent answers, 4 timed out, 5 plan found changes, 130 interrupted.
`;
