#!/usr/bin/env bash
# packaging/static.sh [--quickly] KIND TARGET: builds a static binary, which runs on every Linux of its processor, and prints
# its path. With --quickly it is large and slow, but built in a fraction of the time.
#
#   KIND      full: the broker and the client · server: the broker alone
#   TARGET    x86_64-unknown-linux-musl or aarch64-unknown-linux-musl
#
# It needs musl-gcc (Debian: musl-tools). Exit code 69: this machine cannot build it, for the reason that is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$1" = --quickly ]; then
  shift
  export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
fi
kind=$1 target=$2

cannot() { echo "no static binary for $target: $1" >&2; exit 69; }

case $kind in
  full) features=client,libzstd,mimalloc,security ;;
  server) features=libzstd,mimalloc,security ;;
  *) echo "full or server, not $kind" >&2; exit 64 ;;
esac

[ "${target%%-*}" = "$(uname -m)" ] || cannot 'there is no C compiler for that processor here; run this on such a machine'
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || timeout 300 rustup -q target add "$target" >&2 ||
  cannot "rustup cannot install the standard library of Rust for it"
command -v musl-gcc >/dev/null || cannot 'there is no musl-gcc (Debian: apt-get install musl-tools)'
export CC=musl-gcc
cargo build --release --locked --target "$target" --no-default-features --features "$features" --bin jackdaw >&2

# The two kinds are one file of cargo's.
binary=${CARGO_TARGET_DIR:-target}/$target/release/jackdaw
cp "$binary" "$binary-$kind"
echo "$binary-$kind"
