#!/usr/bin/env bash
# packaging/release.sh [OUT]: builds everything that is handed out but the image, in OUT (target/dist by default):
#
#   jackdaw-VERSION-TARGET.tar.gz           static binary of broker and client, pages, systemd unit, completions, man pages
#   jackdaw-server-VERSION-TARGET.tar.gz    the same with the broker alone
#   jackdaw_VERSION_ARCHITECTURE.deb        Debian package
#   jackdaw-VERSION-py3-none-….whl          Python wheel
#   jackdaw-VERSION.tgz                     npm package, for all targets
#   SHA256SUMS                              their checksums, for `sha256sum -c`
#
#   TARGETS='x86_64-unknown-linux-musl'     what to build for; by default x86_64 and aarch64, this machine's first
#   LIMIT=20000000                          the size of the largest binary, in bytes
#   FULL=path SERVER=path                   binaries of packaging/static.sh, for a single target; by default they are built
#
# The same sources and tools give the same bytes. A target that this machine cannot build is named at the end, with
# exit code 69, and the others are there. A binary of more than 20 MB is refused.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/dist}
limit=${LIMIT:-20000000}

# The scripts below take both from here.
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export VERSION SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(realpath "$out")

# take BINARY TO: copies and checks it, and runs it if this machine can, directly or with qemu-user.
take() {
  local size runner=()
  install -m 755 "$1" "$2"
  size=$(stat -c %s "$2")
  [ "$size" -le "$limit" ] || { echo "$1 has $size bytes, more than $limit" >&2; return 1; }
  echo "$2 has $size bytes" >&2
  if [ "$machine" != "$(uname -m)" ]; then
    runner=("$(command -v "qemu-$machine" || command -v "qemu-$machine-static" || true)")
    [ -n "$runner" ] || { echo "it was not run: there is no qemu-$machine (Debian: qemu-user-static)" >&2; return 0; }
  fi
  [ "$("${runner[@]}" "$2" --version)" = "jackdaw $VERSION" ] || { echo "$1 is not version $VERSION" >&2; return 1; }
  case $2 in *-full) greet "${runner[@]}" "$2" ;; esac
}

# greet COMMAND…: writes a record to a broker that is this command, and reads it with this command.
greet() {
  local address read
  coproc BROKER { exec "$@" --ephemeral --listen 127.0.0.1:0 --stop-on-eof --log-level warn; }
  local pid=$BROKER_PID
  IFS= read -r -u "${BROKER[0]}" address
  address=${address#* is ready at } address=${address%%,*}
  echo hello | "$@" produce greetings --bootstrap "$address"
  read=$("$@" consume greetings --bootstrap "$address" --until-end)
  exec {BROKER[1]}>&-
  wait "$pid"
  [ "$read" = hello ] || { echo "not the message that was written: $read" >&2; return 1; }
}

own=$(uname -m)-unknown-linux-musl
case $own in x86_64-*) other=aarch64-unknown-linux-musl ;; *) other=x86_64-unknown-linux-musl ;; esac

missing=()
for_npm=()
for target in ${TARGETS:-$own $other}; do
  code=0
  full=${FULL:-$(packaging/static.sh full "$target")} && server=${SERVER:-$(packaging/static.sh server "$target")} || code=$?
  case $code in
    0) ;;
    69) missing+=("$target"); continue ;;
    *) exit $code ;;
  esac
  machine=${target%%-*}
  case $machine in
    x86_64) debian=amd64 node=x64 ;;
    aarch64) debian=arm64 node=arm64 ;;
  esac
  take "$full" "$work/$machine-full"
  take "$server" "$work/$machine-server"
  # The same for all processors; the first target can run here.
  [ -d "$work/full" ] || packaging/generated.sh "$work/$machine-full" "$work/full"
  [ -d "$work/server" ] || packaging/generated.sh "$work/$machine-server" "$work/server"

  # Compression takes the time: all at once.
  packaging/archive.sh "$work/$machine-full" "$work/full" "jackdaw-$VERSION-$target" "$out" & jobs=($!)
  packaging/archive.sh "$work/$machine-server" "$work/server" "jackdaw-server-$VERSION-$target" "$out" & jobs+=($!)
  packaging/deb.sh "$work/$machine-full" "$work/full" "$debian" "$out" & jobs+=($!)
  packaging/wheel.py "$work/$machine-full" "$machine" "$out" & jobs+=($!)
  for job in "${jobs[@]}"; do wait "$job"; done
  for_npm+=("$node=$work/$machine-full")
done
[ ${#for_npm[@]} -gt 0 ] || exit 69
packaging/npm.sh "$out" "${for_npm[@]}"

(cd "$out" && ls | grep -E "^jackdaw.*[-_]$VERSION[-_.]" | xargs sha256sum > SHA256SUMS && cat SHA256SUMS)
if [ ${#missing[@]} -gt 0 ]; then
  echo "not built, for the reasons above: ${missing[*]}" >&2
  exit 69
fi
