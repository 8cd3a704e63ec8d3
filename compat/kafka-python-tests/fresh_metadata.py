"""A plugin for pytest: every consumer of the tests asks for its metadata twice a second.

A consumer of kafka-python 3.0.12 that subscribes while its first metadata request is in flight takes the answer for one
about its topic. By default it asks again only five minutes later, and has no partitions until then. A broker cannot
prevent it: consumers of an Apache Kafka lose the same race, up to half of the time if they subscribe at the worst
moment.
"""

from kafka import KafkaConsumer

KafkaConsumer.DEFAULT_CONFIG['metadata_max_age_ms'] = 500
