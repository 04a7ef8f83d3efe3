#!/usr/bin/env bash
# Makes the virtual environment: usage `setup/venv.sh .venv`. Everything is installed by hash from the constraints
# files; the project itself is installed editable.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
python=${PYTHON:-python3}

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
[ -t 1 ] || say() { printf '==> %s\n' "$*"; }

"$python" - <<'PY'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"configdrive-fleet needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.\n"
             "Name another one: make setup PYTHON=/usr/bin/python3.12")
PY

say "$(grep -c "^[a-z]" constraints.txt) Python packages into $venv, each checked by its hash (the first time about half a minute)"
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check -qq)
"${pip[@]}" install --require-hashes --only-binary :all: -r constraints.txt
if pkg-config --atleast-version=9.0 libvirt 2>/dev/null; then
  say "libvirt-python, built against libvirt $(pkg-config --modversion libvirt)"
  "${pip[@]}" install --require-hashes --no-build-isolation -r constraints-kvm.txt
else
  say "libvirt-dev (9.0 or newer) is missing: without libvirt-python the KVM driver stays out" >&2
fi
"${pip[@]}" install --no-deps --no-build-isolation --no-index -e .
