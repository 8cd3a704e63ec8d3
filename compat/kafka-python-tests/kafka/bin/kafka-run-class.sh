#!/bin/sh
# kafka-run-class.sh kafka.Kafka PROPERTIES starts Jackdaw with the settings of the file. Any other class is of Apache Kafka.
if [ "$1" = kafka.Kafka ]; then exec "$JACKDAW" --config "$2"; fi
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$CACHE/console/*" "$@"
