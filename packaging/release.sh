#!/usr/bin/env bash
# packaging/release.sh [OUT]: the binary that is handed out, in OUT (target/dist by default):
#
#   jackdaw-VERSION-TARGET.tar.gz           binary, licence, systemd unit with its settings, settings page
#   jackdaw-VERSION-TARGET.tar.gz.sha256    its checksum, for `sha256sum -c`
#
#   JACKDAW=path                            the binary to take; by default target/release/jackdaw, built first
#
# The same sources and compiler give the same bytes. A binary of more than 20 MB is refused.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/dist}
limit=20000000

if [ -z "${JACKDAW:-}" ]; then
  cargo build --release --locked --bin jackdaw
  JACKDAW=${CARGO_TARGET_DIR:-target}/release/jackdaw
fi
target=$(rustc -vV | sed -n 's/^host: //p')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=jackdaw-$version-$target

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/$name" "$work/$name/systemd"
install -m 755 "$JACKDAW" "$work/$name/jackdaw"
strip "$work/$name/jackdaw"
install -m 644 LICENSE README.md CHANGELOG.md docs/settings.md "$work/$name/"
install -m 644 packaging/systemd/jackdaw.service packaging/systemd/server.properties "$work/$name/systemd/"

size=$(stat -c %s "$work/$name/jackdaw")
[ "$size" -le "$limit" ] || { echo "the binary has $size bytes, more than $limit" >&2; exit 1; }
[ "$("$work/$name/jackdaw" --version)" = "jackdaw $version" ] || { echo "the binary is not version $version" >&2; exit 1; }

mkdir -p "$out"
when=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$when" -cf - "$name" | gzip -9n > "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256")
echo "$out/$name.tar.gz: binary of $size bytes"
