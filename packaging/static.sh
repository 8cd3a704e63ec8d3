#!/usr/bin/env bash
# packaging/static.sh [--quickly] KIND TARGET: builds a static binary, which runs on every Linux of its processor, and prints
# its path. With --quickly it is large and slow and has no OpenSSL, but is built in a fraction of the time.
#
#   KIND      full: the broker and the client, with OpenSSL · server: the broker alone
#   TARGET    x86_64-unknown-linux-musl or aarch64-unknown-linux-musl
#
# For the processor of this machine it needs musl-gcc (Debian: musl-tools), for another one zig (PyPI: ziglang); for the
# client also a C++ compiler, make and perl. Exit code 69: this machine cannot build it, for the reason that is printed.
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

# Makes the C compiler and its tools from zig, which has the headers of musl for every processor.
cross_compile() {
  local zig tools machine=${target%%-*}
  if command -v zig >/dev/null; then zig=zig; else zig='python3 -m ziglang'; fi
  $zig version >/dev/null 2>&1 ||
    cannot 'there is no C compiler for that processor here (pip install ziglang); or run this on such a machine'
  tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/$target/zig")
  mkdir -p "$tools"
  cat > "$tools/cc" <<END
#!/usr/bin/env bash
# Rust names the target in words that zig does not know.
for word; do shift; [[ \$word = --target=* ]] || set -- "\$@" "\$word"; done
exec $zig "\${0##*/}" -target $machine-linux-musl -fno-sanitize=undefined "\$@"
END
  printf '#!/usr/bin/env bash\nexec %s "${0##*/}" "$@"\n' "$zig" > "$tools/ar"
  cp "$tools/cc" "$tools/c++"
  cp "$tools/ar" "$tools/ranlib"
  chmod +x "$tools"/*
  export CC=$tools/cc CXX=$tools/c++ AR=$tools/ar RANLIB=$tools/ranlib ZIG_GLOBAL_CACHE_DIR=$tools/cache
  # For the shared library of librdkafka, which is built too and names symbols that only its tests have.
  export LDFLAGS=-Wl,--undefined-version
}

[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || timeout 300 rustup -q target add "$target" >&2 ||
  cannot "rustup cannot install the standard library of Rust for it"
if [ "${target%%-*}" = "$(uname -m)" ]; then
  command -v musl-gcc >/dev/null || cannot 'there is no musl-gcc (Debian: apt-get install musl-tools)'
  export CC=musl-gcc
else
  cross_compile
fi

case $features in *vendored*) command -v perl >/dev/null || cannot 'there is no perl, which builds OpenSSL' ;; esac

# The size has a limit. Functions of C that nobody calls are left out, as those of Rust always are, and nothing unwinds
# through C. Rust's own linker packs the relocations.
export CFLAGS='-ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables' CARGO_PROFILE_RELEASE_STRIP=symbols
# librdkafka is compiled for size. Crates with C that a broker uses too, such as ring and zstd, are compiled for speed: they
# add the second variable.
[ -z "$tls" ] || export CFLAGS="$CFLAGS -Os" "CFLAGS_${target//-/_}=-O3"
export OPENSSL_SRC_PERL=$PWD/packaging/openssl-perl
cargo rustc --release --locked --target "$target" --no-default-features --features "$features" --bin jackdaw -- \
  -C linker=rust-lld -C link-self-contained=yes -C link-arg=--pack-dyn-relocs=relr >&2

# The two kinds are one file of cargo's.
binary=${CARGO_TARGET_DIR:-target}/$target/release/jackdaw
cp "$binary" "$binary-$kind"
echo "$binary-$kind"
