#!/bin/sh
# Kafka's tool for topics, as init containers and health checks call it: --list, --describe, --create, --delete
# and --alter of settings or partitions. Other options are refused rather than read over.
servers=localhost:9092 do='' topic='' quietly='' partitions='' count=0
usage() {
  echo "kafka-topics.sh: $1; jackdaw topic --help says what there is" >&2
  exit 64
}
for option in "$@"; do
  # --option=value is --option value.
  case $option in
    --*=*) set -- "$@" "${option%%=*}" "${option#*=}" ;;
    *) set -- "$@" "$option" ;;
  esac
  count=$((count + 1))
done
shift "$count"
count=$#
while [ "$count" -gt 0 ]; do
  option=$1 taken=1
  case $option in
    --list | --describe | --create | --delete | --alter) do=${option#--} ;;
    --if-not-exists | --if-exists) quietly=yes ;;
    *)
      [ "$count" -gt 1 ] || usage "$option needs a value, or is not known"
      value=$2 taken=2
      case $option in
        --bootstrap-server) servers=$value ;;
        --topic) topic=$value ;;
        --partitions) partitions=$value ;;
        --replication-factor) set -- "$@" --replication-factor "$value" ;;
        --config) set -- "$@" --set "$value" ;;
        --command-config) ;;
        *) usage "$option is not known" ;;
      esac
      ;;
  esac
  shift "$taken"
  count=$((count - taken))
done
# What is left in the arguments is for ours.
topics() { jackdaw topic --bootstrap "$servers" "$@"; }
exists() { topics --json list --all | grep -qF "\"topic\":\"$topic\""; }
case $do in
  list) topics list | awk 'NR > 1 { print $1 }' ;;
  describe)
    [ -z "$topic" ] || exec jackdaw topic --bootstrap "$servers" describe "$topic"
    topics list
    ;;
  create)
    [ -z "$quietly" ] || ! exists || exit 0
    [ -z "$partitions" ] || set -- "$@" --partitions "$partitions"
    topics create "$@" "$topic"
    ;;
  delete)
    [ -z "$quietly" ] || exists || exit 0
    topics delete "$topic"
    ;;
  alter)
    if [ -n "$partitions" ]; then topics partitions "$topic" "$partitions"; else topics alter "$@" "$topic"; fi
    ;;
  *) usage "nothing to do: --list, --describe, --create, --delete or --alter" ;;
esac
