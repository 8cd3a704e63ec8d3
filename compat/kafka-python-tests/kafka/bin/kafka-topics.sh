#!/bin/sh
exec "$KAFKA_ROOT/bin/kafka-run-class.sh" org.apache.kafka.tools.TopicCommand "$@"
