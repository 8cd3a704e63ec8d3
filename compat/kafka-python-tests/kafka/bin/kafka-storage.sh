#!/bin/sh
# kafka-storage.sh format FLAG…, of Jackdaw. The fixture calls it before its file names the mechanism of the listener, and Kafka's
# default, GSSAPI, is not in Jackdaw.
KAFKA_SASL_ENABLED_MECHANISMS=SCRAM-SHA-256 exec "$JACKDAW" "$@"
