# Sourced by demo.sh and check.sh: installs what this machine lacks. Debian's packages and npm are the only sources.
# Afterwards the pinned bun is first on PATH and node_modules is as the lock file says.
# Apart from Debian's packages, everything lands in .tools and node_modules of this directory.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
tools="$root/.tools"

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

[ "$(uname -s)" = Linux ] || fail "this needs Linux"
[ "$(id -u)" = 0 ] || fail "this needs root (network namespaces, containers): run it with sudo"

# After a plain `su`, root's PATH lacks the directories of runc and nft.
export PATH="$tools/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

has() { command -v "$1" >/dev/null 2>&1; }

# A program of another C library cannot run inside a container that holds nothing else.
has_static_busybox() { has busybox && ! head -c 4096 "$(command -v busybox)" | grep -q ld-linux; }

apt() { NEEDRESTART_SUSPEND=1 DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

apt_is_fresh=no
refresh_apt() {
  [ "$apt_is_fresh" = no ] || return 0
  # A broken source of somebody else's is no reason to stop: what matters is whether the packages come.
  apt update || say "apt-get update complained; going on"
  apt_is_fresh=yes
}

# Installs packages in such a way that none of them starts a service.
install_packages() {
  has apt-get || fail "there is no apt-get; install these yourself: $*"
  say "installing Debian packages: $*"
  refresh_apt
  (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap 'rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    # Last in the subshell: its exit code is the answer.
    apt install -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@" >/dev/null
  ) || fail "apt-get could not install: $*"
}

# Only the program of a package, not the service that comes with it.
unpack_program() {
  local package=$1 program=$2
  has apt-get || fail "there is no apt-get; install $program yourself"
  say "unpacking $program into .tools"
  refresh_apt
  local work
  work=$(mktemp -d)
  (
    trap 'rm -rf "$work"' EXIT
    # The user as whom apt downloads has to be able to write here.
    chown _apt "$work" 2>/dev/null || true
    cd "$work" &&
      apt download "$package" &&
      dpkg-deb --extract "$package"_*.deb tree &&
      install -D -m 755 "tree/usr/bin/$program" "$tools/bin/$program"
  ) || fail "$program could not be fetched from Debian"
}

# The program alone, from npm's package for this machine's processor, without running anything of npm's.
install_bun() {
  local package
  case "$(uname -m)" in
    x86_64) package=@oven/bun-linux-x64 ;;
    aarch64) package=@oven/bun-linux-aarch64 ;;
    *) fail "Bun runs on x86_64 and aarch64, not on $(uname -m)" ;;
  esac
  say "installing Bun $bun_version from npm into .tools"
  has npm || install_packages npm
  mkdir -p "$tools/bin"
  # A cache of our own: as root under sudo, the user's would be left with files that the user cannot change.
  npm install --prefix "$tools" --cache "$tools/npm-cache" --no-save --ignore-scripts --no-audit --no-fund \
    --loglevel=error "$package@$bun_version" >/dev/null || fail "npm could not install $package@$bun_version"
  rm -rf "$tools/npm-cache"
  ln -sf "../node_modules/$package/bin/bun" "$tools/bin/bun"
  ln -sf bun "$tools/bin/bunx"
}

missing=()
need() { has "$1" || missing+=("$2"); }
need runc runc
need conmon conmon
need nft nftables
need ip iproute2
need sysctl procps
need mount mount
need unshare util-linux
need nsenter util-linux
need umoci umoci
need skopeo skopeo
need curl curl
has_static_busybox || missing+=(busybox-static)
# What only tests run: other runtimes, and the shells and programs that judge what is made for them.
if [ "${with_tests:-no}" = yes ]; then
  need crun crun
  need openssl openssl
  need zsh zsh
  need fish fish
  need systemd-analyze systemd
  # gVisor is not packaged for every processor, nor by every Debian; its tests say so where it is missing.
  if ! has runsc && has apt-cache; then
    [ "${#missing[@]}" -eq 0 ] || refresh_apt
    if apt-cache show runsc >/dev/null 2>&1; then missing+=(runsc); fi
  fi
fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
if [ "${#missing[@]}" -gt 0 ]; then install_packages "${missing[@]}"; fi
has docker-registry || unpack_program docker-registry docker-registry
[ "${with_tests:-no}" = no ] || has promtool || unpack_program prometheus promtool

bun_version=$(sed -n 's/.*"packageManager": "bun@\([^"]*\)".*/\1/p' package.json)
[ -n "$bun_version" ] || fail "package.json does not say which Bun it wants"
if [ "$(bun --version 2>/dev/null || true)" != "$bun_version" ]; then
  install_bun
  hash -r
fi
[ "$(bun --version)" = "$bun_version" ] || fail "Bun $bun_version could not be installed"

if [ ! -d node_modules ]; then say "installing the packages of bun.lock"; fi
BUN_INSTALL_CACHE_DIR="${BUN_INSTALL_CACHE_DIR:-$tools/bun-cache}" bun install --frozen-lockfile --silent ||
  fail "the packages of bun.lock could not be installed"
