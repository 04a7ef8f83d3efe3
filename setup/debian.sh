#!/usr/bin/env bash
# Installs the Debian packages that the demo and the tests start or read with: only those that are missing, and without
# leaving a service running or enabled. Changes nothing and asks for nothing when all of them are there.
#
#   setup/debian.sh           install what is missing; say so and go on where that is not possible
#   setup/debian.sh --check   install nothing; succeed when nothing is missing
#   setup/debian.sh --only PACKAGE...   these instead, for one target of the Makefile; fail when one stays missing
set -euo pipefail

packages=(
  python3-venv python3-dev gcc pkg-config libvirt-dev              # .venv, and libvirt-python, which has to be compiled
  redis-server redis-tools                                         # the queue
  rabbitmq-server                                                  # the bus on which CloudStack publishes
  libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients # the KVM host of the demo and the tests
  qemu-system-x86 qemu-system-arm qemu-utils seabios
  util-linux iproute2                                              # blkid, setpriv; namespaces, and their loopback
  openssh-server openssh-client                                    # the host's cache is filled over SFTP
  groovy default-jre-headless                                      # runs the hook of CloudStack's KVM agent, as that agent does
  golang-go golang-github-vmware-govmomi-dev                       # the vCenter of the tests is a simulator in Go
  golang-golang-x-crypto-dev                                       # the publisher in Go, which seals without us
  genisoimage xorriso libarchive-tools 7zip                        # readers of the image that are not ours
  user-mode-linux                                                  # and the Linux kernel itself, as one of them
  debootstrap                                                      # the stock Debian of `make test-cloud-init`
  shellcheck dash mksh busybox-static passwd                       # the guest's program: its checker, shells and chpasswd
  systemd udev e2fsprogs rpm                                       # its units and rules are verified, its packages built,
  lintian rpmlint                                                  # and looked over
  prometheus                                                       # scrapes the workers and loads the alert rules
  chromium-headless-shell                                          # looks at the pages of Flower and of the documentation
  graphviz                                                         # draws the diagrams of the documentation
)

# ajv reads the published JSON Schema. Node.js of another origin than Debian's has npm inside.
command -v npm >/dev/null || packages+=(nodejs npm)

only=
if [ "${1:-}" = --only ]; then
  shift
  only=yes packages=("$@")
  set --
fi

say() { printf '==> %s\n' "$*"; }

installed() { # the packages of the system, one per line, sorted
  # shellcheck disable=SC2016  # dpkg-query expands these
  dpkg-query -W -f='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u
}

missing() {
  comm -23 <(printf '%s\n' "${packages[@]}" | sort -u) <(installed)
}

# As root: install the packages named, with no service started now or at the next boot because of us.
install() {
  local before policy=/usr/sbin/policy-rc.d
  export DEBIAN_FRONTEND=noninteractive LC_ALL=C
  before=$(installed)
  log=$(mktemp) our_policy=
  trap 'rm -f "$log" $our_policy' EXIT
  if [ ! -e "$policy" ]; then # the documented way to keep packages from starting services
    our_policy=$policy
    printf '#!/bin/sh\n# only while configdrive-fleet installs packages\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi

  local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
  if ! apt-get --simulate install --no-install-recommends "$@" >/dev/null 2>&1 \
    || [ -z "$(find /var/lib/apt/lists -maxdepth 0 -mtime -1)" ]; then
    say "Reading the package lists"
    "${apt[@]}" update >"$log" 2>&1 || { cat "$log" >&2; return 1; }
  fi
  "${apt[@]}" install --no-install-recommends "$@" 2>&1 | tee "$log" | progress || { tail -n 20 "$log" >&2; return 1; }

  if [ -d /run/systemd/system ]; then disable_services "$before"; fi
}

# Disables what the daemons among the packages that were not there before have enabled for the next boot.
disable_services() {
  local units unit
  units=$(comm -13 <(echo "$1") <(installed) | sed -nE '/^(libvirt-|containerd$|docker\.io$|openssh-server$|prometheus$|rabbitmq-server$|redis-server$)/p' | xargs -r dpkg -L \
    | sed -nE 's|^(/usr)?/lib/systemd/system/([^/@]+\.(service\|socket\|timer))$|\2|p' | sort -u)
  for unit in $units; do
    if systemctl --quiet is-enabled "$unit" 2>/dev/null; then systemctl --quiet disable "$unit"; fi
  done
  [ -z "$units" ] || say "Their services stay off; if you want one for yourself: systemctl enable --now libvirtd"
}

progress() { # counts what apt sets up, in place on a terminal
  awk -v terminal="$([ -t 1 ] && echo 1)" '
    /newly installed/ { total = $3 }
    /^Setting up/     { done++; if (terminal) { printf "\r    %d of %d", done, total; fflush() } }
    END               { if (terminal) print ""; else if (done) print "    " done " packages" }'
}

if [ "${1:-}" = --as-root ]; then
  shift
  install "$@"
  exit
fi

if ! command -v dpkg-query >/dev/null; then
  [ "${1:-}" = --check ] && exit 1
  say "This is no Debian system. The demo and the tests use what these Debian packages hold; install them your way:"
  printf '    %s\n' "${packages[*]}"
  exit 0
fi

mapfile -t lacking < <(missing)
[ ${#lacking[@]} -eq 0 ] && exit 0
[ "${1:-}" = --check ] && exit 1

by_hand() {
  say "$1 Without these packages a part of the demo and the tests stays out:"
  printf '    sudo apt-get install --no-install-recommends %s\n' "${lacking[*]}"
  [ -z "$only" ]
  exit
}

say "Debian packages: ${lacking[*]}"
if [ "$(id -u)" -eq 0 ]; then
  "$0" --as-root "${lacking[@]}" || by_hand "They could not be installed."
elif command -v sudo >/dev/null; then
  if [ -t 0 ]; then ask=(); else ask=(--non-interactive); fi
  sudo "${ask[@]}" "$0" --as-root "${lacking[@]}" || by_hand "They could not be installed."
else
  by_hand "You are not root and there is no sudo."
fi
