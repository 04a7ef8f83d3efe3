#!/bin/sh
# Puts the program and what starts it below a directory, as packages have it. Enables nothing.
#
#   install.sh [--init systemd|openrc|sysv] [DIRECTORY]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
init=systemd
if [ "${1-}" = --init ]; then
  init=$2
  shift 2
fi
root=${1-}

put() { # MODE FILE TARGET
  mkdir -p "$root$(dirname "$3")"
  cp "$here/$2" "$root$3"
  chmod "$1" "$root$3"
}

put 755 configdrive-guest /usr/sbin/configdrive-guest
[ -e "$root/etc/default/configdrive-guest" ] || put 644 configdrive-guest.default /etc/default/configdrive-guest
put 644 README.md /usr/share/doc/configdrive-guest/README.md
put 644 configdrive-guest.8 /usr/share/man/man8/configdrive-guest.8
put 755 udev/changed /usr/lib/configdrive-guest/changed
put 644 udev/90-configdrive-guest.rules /usr/lib/udev/rules.d/90-configdrive-guest.rules
case $init in
  systemd)
    for unit in configdrive-guest configdrive-userdata; do
      put 644 "systemd/$unit.service" "/usr/lib/systemd/system/$unit.service"
    done
    ;;
  openrc | sysv)
    for script in configdrive-guest configdrive-userdata; do put 755 "$init/$script" "/etc/init.d/$script"; done
    ;;
  *) echo "unknown init: $init" >&2 && exit 2 ;;
esac
