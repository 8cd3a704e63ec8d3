#!/bin/sh
# There is nothing to format: a data directory is made when the broker starts, with the id in CLUSTER_ID. Only users to
# add (--add-scram) need one before; a directory that is there already is left as it is.
case $1 in
  random-uuid)
    # As in Kafka, none that a command line takes for an option.
    while :; do
      id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
      case $id in -*) ;; *) echo "$id"; exit ;; esac
    done
    ;;
  format)
    shift
    for option in "$@"; do
      case $option in
        --add-scram | --add-scram=* | -S*) exec jackdaw format --container "$@" ;;
      esac
    done
    echo "nothing to format: the broker makes its data directory when it starts, with the id in CLUSTER_ID"
    ;;
  *) echo "usage: kafka-storage.sh random-uuid | format" >&2; exit 64 ;;
esac
