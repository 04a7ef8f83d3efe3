#!/bin/sh
# Builds the packages: configdrive-guest_VERSION_all.deb where there is dpkg-deb, an rpm where there is rpmbuild.
# The same sources give the same bytes, whoever builds them and when: their times are that of the last commit.
#
#   packages.sh DIRECTORY
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?the directory for the packages}
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$here/../../configdrive/__init__.py")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 1700000000)}
export SOURCE_DATE_EPOCH
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if command -v dpkg-deb >/dev/null; then
  tree=$work/deb
  "$here/install.sh" "$tree"
  "$here/install.sh" --init sysv "$tree"
  sed -i "s/^VERSION=[^ ]*/VERSION=$version/" "$tree/usr/sbin/configdrive-guest"
  mkdir "$tree/DEBIAN"
  cp "$here"/packaging/debian/* "$tree/DEBIAN"
  chmod 644 "$tree/DEBIAN/control" "$tree/DEBIAN/conffiles"
  sed -i "s/@VERSION@/$version/" "$tree/DEBIAN/control"
  find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/configdrive-guest_${version}_all.deb"
fi
if command -v rpmbuild >/dev/null; then
  rpmbuild -bb --quiet --target noarch \
    --define "_topdir $work/rpm" --define "_rpmdir $work" --define "_build_name_fmt %%{NAME}-%%{VERSION}.noarch.rpm" \
    --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" --define "__brp_mangle_shebangs %{nil}" \
    --define "sources $here" --define "program_version $version" "$here/packaging/rpm/configdrive-guest.spec"
  cp "$work"/*.rpm "$out"
fi
