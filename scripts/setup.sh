#!/bin/sh
# Makes .venv and installs Shieldwall into it: `setup.sh run` for running, `setup.sh dev` for tests as well.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-run}
stamp=.venv/.installed-$kind

newer() { [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ agent/pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; }
newer || exit 0

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || { echo "Shieldwall needs Python 3.11 or newer." >&2; exit 1; }

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "Making the environment in .venv ..."
    rm -rf .venv
    # Debian splits ensurepip off; without it the environment starts empty and pip comes from its own wheel.
    if ! "$python" -m venv .venv >/dev/null 2>&1; then
        rm -rf .venv
        "$python" -m venv --without-pip .venv
        .venv/bin/python scripts/bootstrap_pip.py
    fi
fi

echo "Installing Shieldwall (the first time takes a few minutes) ..."
target=.
[ "$kind" = dev ] && target='.[dev]'
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$target" -e ./agent
touch "$stamp"
