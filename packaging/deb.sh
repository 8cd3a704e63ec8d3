#!/usr/bin/env bash
# packaging/deb.sh BINARY GENERATED ARCHITECTURE OUT:
# OUT/jackdaw_VERSION_ARCHITECTURE.deb, with a static binary, so it depends on nothing. Needs dpkg-deb. packaging/release.sh calls it.
#
#   DEB_MAINTAINER='Name <address>'   who answers for the package
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1 generated=$2 architecture=$3 out=$4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
cp -r "$generated/completions" "$generated/man" "$work/"

install -D -m 755 "$binary" "$root/usr/bin/jackdaw"
install -D -m 644 packaging/systemd/jackdaw.service "$root/usr/lib/systemd/system/jackdaw.service"
install -D -m 644 packaging/systemd/server.properties "$root/etc/jackdaw/server.properties"
install -D -m 644 "$work/completions/jackdaw.bash" "$root/usr/share/bash-completion/completions/jackdaw"
install -D -m 644 "$work/completions/_jackdaw" "$root/usr/share/zsh/vendor-completions/_jackdaw"
install -D -m 644 "$work/completions/jackdaw.fish" "$root/usr/share/fish/vendor_completions.d/jackdaw.fish"
gzip -9n "$work"/man/*
install -d "$root/usr/share/man/man1" "$root/usr/share/doc/jackdaw" "$root/DEBIAN"
install -m 644 "$work"/man/* "$root/usr/share/man/man1/"
install -m 644 packaging/debian/copyright "$root/usr/share/doc/jackdaw/"
packaging/pages.sh "$root/usr/share/doc/jackdaw"
gzip -9nc CHANGELOG.md > "$root/usr/share/doc/jackdaw/changelog.gz"

install -m 755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$root/DEBIAN/"
echo /etc/jackdaw/server.properties > "$root/DEBIAN/conffiles"
sed -e "s/@VERSION@/$VERSION/" -e "s/@ARCHITECTURE@/$architecture/" \
  -e "s/@MAINTAINER@/${DEB_MAINTAINER:-The Jackdaw developers <root@localhost>}/" \
  -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" packaging/debian/control > "$root/DEBIAN/control"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | xargs -d '\n' md5sum) > "$root/DEBIAN/md5sums"
chmod 644 "$root/DEBIAN"/{conffiles,control,md5sums}
chmod -R go-w "$root"

mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$root" \
  "$out/jackdaw_${VERSION}_$architecture.deb" >&2
