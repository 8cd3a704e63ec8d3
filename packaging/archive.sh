#!/usr/bin/env bash
# packaging/archive.sh BINARY GENERATED NAME OUT: OUT/NAME.tar.gz with the binary, the licence, the pages, the systemd unit,
# completions and man pages. packaging/release.sh calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1 generated=$2 name=$3 out=$4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
mkdir -p "$root/systemd" "$out"
install -m 755 "$binary" "$root/jackdaw"
install -m 644 LICENSE CHANGELOG.md "$root/"
packaging/pages.sh "$root"
install -m 644 packaging/systemd/jackdaw.service packaging/systemd/server.properties "$root/systemd/"
cp -r "$generated/completions" "$generated/man" "$root/"

tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" |
  gzip -9n > "$out/$name.tar.gz"
