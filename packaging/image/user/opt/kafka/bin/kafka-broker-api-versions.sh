#!/bin/sh
# As the health checks of compose files call it; other options of Kafka's tool are read over.
servers=localhost:9092
while [ $# -gt 0 ]; do
  case $1 in
    --bootstrap-server) servers=$2; shift ;;
    --bootstrap-server=*) servers=${1#*=} ;;
    --command-config) shift ;;
  esac
  [ $# = 0 ] || shift
done
exec jackdaw health --bootstrap-server "$servers"
