#!/usr/bin/env bash
# Shows Muster's main job on this one machine: three equal nodes, a real image from a real registry, machines
# that lose power, and how long it takes until everything runs again. Leaves nothing behind.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

registry=10.99.255.254:5000
export MUSTER_LAB=demo
work=$(mktemp -d)
registry_pid=
muster() { "$root/dist/muster" "$@"; }
cleanup() {
  trap - EXIT INT TERM
  [ -z "$registry_pid" ] || kill -9 "$registry_pid" 2>/dev/null || true
  muster lab down >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Shows a command as it would be typed, then runs it.
show() {
  printf '\033[36m$ %s\033[0m\n' "$*"
  "$@"
}
# The same on one of the machines.
on() {
  local machine=$1
  shift
  show muster lab exec "$machine" -- muster "$@"
}

say "building the binary"
bun run --silent build
started=$SECONDS
muster lab down >/dev/null

say "three equal machines: the first founds the fleet, the others join with an invite"
show muster lab up 3 --plain-http-registry "$registry"
on n2 nodes

say "a registry, and an image built here: busybox, serving a page that says which replica answers"
cat >"$work/registry.yml" <<YAML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "$registry"}
YAML
mkdir -p "$work/rootfs/bin" "$work/rootfs/tmp"
cp "$(command -v busybox)" "$work/rootfs/bin/busybox"
for applet in sh httpd hostname mkdir echo; do ln -s busybox "$work/rootfs/bin/$applet"; done
cat >"$work/rootfs/bin/page" <<'SH'
#!/bin/sh
mkdir -p /tmp/www
echo "$(hostname) answers" >/tmp/www/index.html
echo "serving as $(hostname)"
# A first process gets no signal that it has no handler for, and would be waited for in vain.
trap 'exit 0' TERM
httpd -f -p 80 -h /tmp/www &
wait $!
SH
chmod +x "$work/rootfs/bin/page"
umoci init --layout "$work/image"
umoci new --image "$work/image:1"
umoci insert --image "$work/image:1" "$work/rootfs" /
umoci config --image "$work/image:1" --config.cmd /bin/page --config.env PATH=/bin
# The lab's network is one that only its machines and its switch can see.
nsenter --net=/run/netns/muster-demo-sw docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry_pid=$!
for _ in $(seq 100); do
  muster lab exec switch -- curl -s -o /dev/null "http://$registry/v2/" 2>/dev/null && break
  sleep 0.1
done
show muster lab exec switch -- skopeo copy --quiet --dest-tls-verify=false "oci:$work/image:1" "docker://$registry/page:1"

say "three replicas of it, asked for on one node, seen from another"
on n1 run "$registry/page:1" --name web --replicas 3 --cpu 100m --memory 32Mi --wait
on n3 ps
on n3 logs web

say "two more with a port of their machines, reached from outside"
on n2 run "$registry/page:1" --name site --replicas 2 --publish 8080:80 --wait
on n2 inspect site
for address in 10.99.0.1 10.99.0.2 10.99.0.3; do
  show muster lab exec switch -- curl -sS -m 2 "http://$address:8080/" || true
done

say "a machine loses power: agent and containers die at once, and no packet says goodbye"
show muster chaos web --kill holder | tee "$work/holder"

say "the machine of the node that leads the deployment loses power"
show muster chaos web --kill steward | tee "$work/steward"

say "a container's process is killed"
show muster chaos web --kill replica | tee "$work/replica"

say "once more, slowly"
victim=$(muster lab exec n1 -- muster cohort show web | awk '$3 ~ /^steward,/ {print $1; exit}')
witness=n1
[ "$victim" != n1 ] || witness=n2
show muster lab kill "$victim"
for _ in $(seq 100); do
  muster lab exec "$witness" -- muster nodes | grep -q dead && muster lab exec "$witness" -- muster ps | grep -q ' 3/3 *ok' && break
  sleep 0.1
done
on "$witness" nodes
on "$witness" ps
on "$witness" cohort show web
show muster lab start "$victim"
for _ in $(seq 100); do
  # What was made elsewhere meanwhile is not kept twice: five promises are left.
  [ "$(muster lab exec "$victim" -- muster promises | tail -n +2 | wc -l)" != 5 ] || break
  sleep 0.1
done
on "$victim" promises

say "the history of the deployment, as its own replicated log has it; the last lines"
on "$victim" events web | tail -n 12

say "done in $((SECONDS - started)) s; times until all three replicas ran again"
for what in replica holder steward; do
  grep ': whole after' "$work/$what" | sed 's/^/  /'
done
cleanup
say "nothing is left: $(ip netns list | grep -c '^muster-demo' || true) namespaces, $(find /sys/fs/cgroup -maxdepth 2 -name muster-demo | wc -l) control groups"
