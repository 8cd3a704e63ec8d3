#!/usr/bin/env bash
# packaging/npm.sh OUT ARCHITECTURE=BINARY…: OUT/jackdaw-VERSION.tgz, the npm package with the client of the test hooks and
# a static binary for each of node's names of processors (x64, arm64). Needs npm, and no registry. packaging/release.sh
# calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp packaging/npm/{index.js,index.d.ts,cli.js,README.md} kit/node/jackdaw-hooks.{cjs,d.cts} LICENSE "$work/"
chmod 755 "$work/cli.js"
processors=()
for one in "$@"; do
  install -D -m 755 "${one#*=}" "$work/bin/${one%%=*}/jackdaw"
  processors+=("${one%%=*}")
done
cpu=$(printf '", "%s' "${processors[@]}")
sed -e "s/@VERSION@/$VERSION/" -e "s/\"@CPU@/${cpu#'", '}/" packaging/npm/package.json > "$work/package.json"

mkdir -p "$out"
npm pack --silent --ignore-scripts --pack-destination "$out" "$work" >/dev/null
