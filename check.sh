#!/usr/bin/env bash
# Installs what is missing, then everything a change must pass: types, format, lint, build, tests, simulation, end to end.
#
#   ./check.sh [NAME...]     only the named checks, of those listed by ./check.sh --list
#   FLEETS=1000 ./check.sh   how many seeded fleets are simulated; 200 unless told
#   CI=true ./check.sh       a test that would be left out because a tool is missing fails instead
#
# The last line is "N passed, N failed"; the exit code is 0 when nothing failed and something passed.
set -euo pipefail

checks=(types format lint build unit house contract simulation fleets integration e2e)
if [ "${1:-}" = --list ]; then
  printf '%s\n' "${checks[@]}"
  exit 0
fi
for name in "$@"; do
  [[ " ${checks[*]} " == *" $name "* ]] || { printf 'error: no check is called %s; there are: %s\n' "$name" "${checks[*]}" >&2; exit 2; }
done

with_tests=yes
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

passed=0
failed=0
summary=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# What was counted, and how long it took, for the table at the end.
record() {
  local name=$1 pass=$2 fail=$3 skip=$4 startedAt=$5
  passed=$((passed + pass))
  failed=$((failed + fail))
  local line
  line=$(printf '%-12s %6d passed %4d failed %4d left out %5d s' "$name" "$pass" "$fail" "$skip" $((SECONDS - startedAt)))
  summary+=("$line")
  [ "$fail" = 0 ] || printf 'FAILED: %s\n' "$name"
}

# One step is one pass or one failure.
step() {
  local name=$1 startedAt=$SECONDS
  shift
  say "$name: $*"
  if "$@"; then record "$name" 1 0 0 "$startedAt"; else record "$name" 0 1 0 "$startedAt"; fi
}

# Adds up the lines of the test runner's summary that end in the given word.
counted() { sed -n "s/^ *\([0-9][0-9]*\) $1\$/\1/p" "$log" | awk '{ n += $1 } END { print n + 0 }'; }

# A run of the test runner counts each of its tests. One that ends early, tests nothing, or ends with an error outside a
# test is at least one failure.
suite() {
  local name=$1 startedAt=$SECONDS code=0
  shift
  say "$name: bun test $*"
  # The timeout is for the slowest test on the slowest machine; bunfig.toml has no setting for it.
  bun test --timeout 60000 "$@" 2>&1 | tee "$log" || code=$?
  local pass fail skip
  pass=$(counted pass)
  fail=$(counted fail)
  skip=$(counted skip)
  # A test that ends the process leaves no summary, and may leave exit code 0.
  grep -q '^Ran [0-9]* tests\{0,1\} across' "$log" || code=1
  [ "$pass" -gt 0 ] || code=1
  if [ "$code" != 0 ] && [ "$fail" = 0 ]; then fail=1; fi
  record "$name" "$pass" "$fail" "$skip" "$startedAt"
}

# Seeded fleets, divided over the processors.
fleets() {
  local count=$1 shards each code=0 from=1 pids=()
  shards=$(nproc)
  each=$(((count + shards - 1) / shards))
  for ((; from <= count; from += each)); do
    bun sim/main.ts --from "$from" --seeds "$((from + each - 1 > count ? count - from + 1 : each))" &
    pids+=("$!")
  done
  for pid in "${pids[@]}"; do wait "$pid" || code=1; done
  return "$code"
}

run() {
  case $1 in
    types) step types bun run --silent typecheck ;;
    format) step format bun fmt --no-script --check ;;
    lint) step lint bun run --silent lint ;;
    build) step build bun run --silent build ;;
    unit) suite unit src examples ;;
    house) suite house test/tidy.test.ts ;;
    contract) suite contract test/contract ;;
    # With the dot it is a path; without, a pattern that files in src match too.
    simulation) suite simulation ./sim ;;
    fleets) step fleets fleets "${FLEETS:-200}" ;;
    integration) suite integration test/integration ;;
    e2e) suite e2e test/e2e ;;
  esac
}

if [ "$#" = 0 ]; then set -- "${checks[@]}"; fi
for name in "$@"; do run "$name"; done

printf '\n'
printf '%s\n' "${summary[@]}"
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
