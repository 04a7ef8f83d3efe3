#!/usr/bin/env bash
# Writes constraints.txt and constraints-kvm.txt: every package of every extra and group, with the hashes of all its
# files, for every supported Python at once. Neither file names an index: an install uses the one of its machine.
set -euo pipefail
cd "$(dirname "$0")/.."

# Which Python supports what is decided by markers in one file, which pip-tools cannot write: it resolves for the
# interpreter it runs on (async-timeout is needed before Python 3.11.3 only, and Debian 12 has 3.11.2).
uv_version=0.13.9

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check "uv==$uv_version"

compile() {
  UV_NO_CONFIG=1 "$scratch/venv/bin/uv" pip compile --quiet \
    --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
    ${UPGRADE:+--upgrade} "$@"
}

compile pyproject.toml --all-extras --group dev --group docs --group bench --group build --no-emit-package libvirt-python -o constraints.txt
# Alone in a file, as it is the one package that has to be compiled, against the machine's libvirt.
echo "libvirt-python>=9.0.0" | compile - -o constraints-kvm.txt

if grep -nE '://|^--' constraints.txt constraints-kvm.txt; then
  echo "the lines above name an index or a link; none may be committed" >&2
  exit 1
fi
echo "written: constraints.txt, constraints-kvm.txt ($(grep -c '^[a-z]' constraints.txt) packages)"
