// An inline function in the headers of librdkafka 1.8; those of Debian's 2.0 only declare it.
#include <librdkafka/rdkafka.h>

__attribute__((weak)) const char *rd_kafka_message_errstr(const rd_kafka_message_t *message) {
  if (!message->err) return NULL;
  return message->payload ? (const char *)message->payload : rd_kafka_err2str(message->err);
}
