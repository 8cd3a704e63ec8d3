#!/usr/bin/env bash
# packaging/static.sh [--quickly] KIND TARGET: builds a static binary, which runs on every Linux of its processor, and prints
# its path. With --quickly it is large and slow and has no OpenSSL, but is built in a fraction of the time.
#
#   KIND      full: the broker and the client, with OpenSSL · server: the broker alone
#   TARGET    x86_64-unknown-linux-musl or aarch64-unknown-linux-musl
#
# It needs musl-gcc (Debian: musl-tools), and for the client a C++ compiler, make and perl. Exit code 69: this machine cannot
# build it, for the reason that is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
tls=-tls-vendored
if [ "$1" = --quickly ]; then
  shift
  tls=
  export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
fi
kind=$1 target=$2

cannot() { echo "no static binary for $target: $1" >&2; exit 69; }

case $kind in
  full) features=client$tls,libzstd,mimalloc,security ;;
  server) features=libzstd,mimalloc,security ;;
  *) echo "full or server, not $kind" >&2; exit 64 ;;
esac

[ "${target%%-*}" = "$(uname -m)" ] || cannot 'there is no C compiler for that processor here; run this on such a machine'
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || timeout 300 rustup -q target add "$target" >&2 ||
  cannot "rustup cannot install the standard library of Rust for it"
command -v musl-gcc >/dev/null || cannot 'there is no musl-gcc (Debian: apt-get install musl-tools)'
export CC=musl-gcc

case $features in *vendored*) command -v perl >/dev/null || cannot 'there is no perl, which builds OpenSSL' ;; esac

# The size has a limit. Functions of C that nobody calls are left out, as those of Rust always are, and nothing unwinds
# through C. Rust's own linker packs the relocations.
export CFLAGS='-ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables' CARGO_PROFILE_RELEASE_STRIP=symbols
# librdkafka is compiled for size. Crates with C, such as ring and zstd, add the second variable; a broker uses them, too.
[ -z "$tls" ] || export CFLAGS="$CFLAGS -Os" "CFLAGS_${target//-/_}=-O3"
export OPENSSL_SRC_PERL=$PWD/packaging/openssl-perl
cargo rustc --release --locked --target "$target" --no-default-features --features "$features" --bin jackdaw -- \
  -C linker=rust-lld -C link-self-contained=yes -C link-arg=--pack-dyn-relocs=relr >&2

# The two kinds are one file of cargo's.
binary=${CARGO_TARGET_DIR:-target}/$target/release/jackdaw
cp "$binary" "$binary-$kind"
echo "$binary-$kind"
