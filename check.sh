#!/usr/bin/env bash
# Installs what is missing, then everything a change must pass: types, lint, tests, simulation, end-to-end.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# One step is one pass or one failure.
step() {
  local what=$1
  shift
  say "$what"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); printf 'FAILED: %s\n' "$what"; fi
}

# A run of the test runner counts each of its tests; a run that tests nothing is a failure.
suite() {
  local what=$1
  shift
  say "$what"
  local code=0
  "$@" 2>&1 | tee "$log" || code=$?
  local pass fail
  pass=$(sed -n 's/^ *\([0-9]*\) pass$/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
  fail=$(sed -n 's/^ *\([0-9]*\) fail$/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
  [ "$pass" -gt 0 ] || [ "$code" != 0 ] || code=1
  [ "$code" = 0 ] || [ "$fail" -gt 0 ] || fail=1
  passed=$((passed + pass))
  failed=$((failed + fail))
}

step "types" bun run --silent typecheck
step "format" bun fmt --no-script --check
step "lint" bun run --silent lint
step "build" bun run --silent build
suite "unit, paper and data-driven tests" bun test src examples
suite "house rules" bun test test/tidy.test.ts
suite "contract suites" bun test test/contract
suite "simulation" bun test sim
suite "integration" bun test test/integration
suite "end to end" bun test test/e2e

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
