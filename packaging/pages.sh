#!/usr/bin/env bash
# packaging/pages.sh OUT: README.md in OUT, with every page and file that its links lead to, and those of these pages.
# packaging/archive.sh and packaging/deb.sh call it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1

mkdir -p "$out"
cp -r README.md CONTRIBUTING.md SECURITY.md docs examples kit "$out/"
# What the tests of the kit leave behind.
find "$out" -name __pycache__ -prune -exec rm -r {} +
# Whatever the umask of the clone was.
chmod -R u=rwX,go=rX "$out"
