#!/bin/sh
# Every check of `make test`, quickest first. Stops at the first that fails, and says which.
set -u
cd "$(dirname "$0")/.." || exit 2
bin=$PWD/.venv/bin
PATH=$bin:$PATH:/usr/sbin:/sbin
export PATH

check() {
    name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || { printf 'checks: %s failed\n' "$name" >&2; exit 1; }
}

check "style: ruff check" ruff check .
check "style: ruff format" ruff format --check .
check "types: mypy --strict" mypy
check "layers: import-linter" lint-imports
if command -v shellcheck >/dev/null 2>&1; then
    check "shell: shellcheck" shellcheck -s sh scripts/*.sh .ci/run
    cat kome_tui/fleet/node/*.sh | check "shell: shellcheck of the node script" shellcheck -s sh - || exit 1
else
    printf 'checks: skipped shellcheck: it is not installed (apt install shellcheck)\n' >&2
fi
# As many workers as tests/workers.py says, which also says who runs what. A test that needs a second
# try on a busy machine is run again, and printed as such (R), and named at the end.
check "tests: pytest" pytest -n auto --maxprocesses 4 --dist loadgroup --reruns 2 -raR "$@"
