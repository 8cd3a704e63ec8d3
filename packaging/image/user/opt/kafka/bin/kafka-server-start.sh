#!/bin/sh
# kafka-server-start.sh [-daemon] FILE [--override NAME=VALUE]…
set -e
[ "$1" != -daemon ] || shift
[ $# -gt 0 ] || { echo "usage: kafka-server-start.sh FILE [--override NAME=VALUE]..." >&2; exit 64; }
config=$1
shift
# The options after the file become ours, in their order.
count=$#
while [ "$count" -gt 0 ]; do
  case $1 in
    --override) set -- "$@" --set ;;
    *) set -- "$@" "$1" ;;
  esac
  shift
  count=$((count - 1))
done
exec jackdaw serve --container --config "$config" "$@"
