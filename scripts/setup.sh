# Sourced by demo.sh and check.sh: installs what this machine lacks. Debian's packages and npm are the only sources.
# Afterwards `bun` on PATH is the pinned version and node_modules is as the lock file says.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "this needs root (network namespaces, containers); run it with sudo"

# Debian package for each program that must be there.
declare -A package_of=(
  [runc]=runc [conmon]=conmon [nft]=nftables [ip]=iproute2 [nsenter]=util-linux [unshare]=util-linux
  [docker-registry]=docker-registry [umoci]=umoci [skopeo]=skopeo [busybox]=busybox-static [git]=git
)
missing=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null 2>&1 || missing+=("${package_of[$program]}")
done
command -v npm >/dev/null 2>&1 || missing+=(npm)
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null 2>&1 || fail "these Debian packages are missing and there is no apt-get to install them: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # A registry that starts by itself would take a port of this machine; we start our own when we need one.
  apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null
fi

bun_version=$(sed -n 's/.*"packageManager": "bun@\(.*\)".*/\1/p' package.json)
if [ "$(bun --version 2>/dev/null)" != "$bun_version" ]; then
  if [ "$(.tools/node_modules/.bin/bun --version 2>/dev/null)" != "$bun_version" ]; then
    say "installing Bun $bun_version from npm"
    mkdir -p .tools
    npm install --prefix .tools --no-save --no-audit --no-fund --loglevel=error "bun@$bun_version" >/dev/null
    # Where npm does not run a package's install script, the wrapper has no program yet.
    .tools/node_modules/.bin/bun --version >/dev/null 2>&1 || (cd .tools/node_modules/bun && node install.js)
  fi
  PATH="$root/.tools/node_modules/.bin:$PATH"
  export PATH
fi
[ "$(bun --version)" = "$bun_version" ] || fail "Bun $bun_version could not be installed"

bun install --frozen-lockfile --silent
