#!/bin/sh
# Builds the packages: configdrive-guest_VERSION_all.deb where there is dpkg-deb, an rpm where there is rpmbuild.
# The same sources give the same bytes, whoever builds them and when: their times are that of the last commit.
#
#   packages.sh DIRECTORY
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?the directory for the packages}
version=${VERSION:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$here/../../configdrive/__init__.py")}
# Whoever gives the packages to others names himself.
maintainer=${MAINTAINER:-The configdrive-fleet developers <developers@configdrive-fleet.invalid>}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 1700000000)}
export SOURCE_DATE_EPOCH
made() { LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" "$1"; }
if ! command -v dpkg-deb >/dev/null && ! command -v rpmbuild >/dev/null; then
  echo "packages.sh: neither dpkg-deb (package dpkg) nor rpmbuild (package rpm) is installed: nothing can be built" >&2
  exit 1
fi
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if command -v dpkg-deb >/dev/null; then
  tree=$work/deb
  documents=$tree/usr/share/doc/configdrive-guest
  "$here/install.sh" "$tree"
  "$here/install.sh" --init sysv "$tree"
  sed -i "s/^VERSION=[^ ]*/VERSION=$version/" "$tree/usr/sbin/configdrive-guest"
  mkdir "$tree/DEBIAN"
  cp "$here"/packaging/debian/* "$tree/DEBIAN"
  mv "$tree/DEBIAN/copyright" "$documents"
  printf 'configdrive-guest (%s) stable; urgency=medium\n\n  * What has changed is in CHANGELOG.md of configdrive-fleet.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(made '+%a, %d %b %Y %T +0000')" | gzip -9n >"$documents/changelog.gz"
  gzip -9n "$tree/usr/share/man/man8/configdrive-guest.8"
  chmod 644 "$tree/DEBIAN/control" "$tree/DEBIAN/conffiles" "$documents/copyright"
  sed -i "s/@VERSION@/$version/; s/@MAINTAINER@/$maintainer/" "$tree/DEBIAN/control"
  (cd "$tree" && find etc usr -type f -exec md5sum {} + | LC_ALL=C sort -k 2) >"$tree/DEBIAN/md5sums"
  find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/configdrive-guest_${version}_all.deb"
fi
if command -v rpmbuild >/dev/null; then
  rpmbuild -bb --quiet --target noarch \
    --define "_topdir $work/rpm" --define "_rpmdir $work" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.noarch.rpm" \
    --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" --define "__brp_mangle_shebangs %{nil}" --define "__brp_compress %{nil}" \
    --define "sources $here" --define "program_version $version" --define "maintainer $maintainer" \
    --define "made $(made '+%a %b %d %Y')" "$here/packaging/rpm/configdrive-guest.spec"
  cp "$work"/*.rpm "$out"
fi
