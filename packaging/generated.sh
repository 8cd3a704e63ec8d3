#!/usr/bin/env bash
# packaging/generated.sh BINARY OUT: what the command line prints of itself, in OUT/completions and OUT/man.
# packaging/release.sh calls it.
set -euo pipefail
binary=$1 out=$2

mkdir -p "$out/completions"
"$binary" generate completions bash > "$out/completions/jackdaw.bash"
"$binary" generate completions zsh > "$out/completions/_jackdaw"
"$binary" generate completions fish > "$out/completions/jackdaw.fish"
"$binary" generate man "$out/man"
