import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** The calls that differ between kafka-clients 2.1 and later versions. */
final class Api {
    private Api() {}

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return Client.get(admin.describeTopics(List.of(topic)).all()).get(topic);
    }

    static void alter(AdminClient admin, ConfigResource resource, String name, String value) throws Exception {
        Config all = new Config(List.of(new ConfigEntry(name, value)));
        Client.get(admin.alterConfigs(Map.of(resource, all)).all());
    }

    static void listOffsets(Client it, TopicPartition partition, long time) {
        // Only by consumers.
    }

    static OffsetAndMetadata committed(KafkaConsumer<?, ?> consumer, TopicPartition partition) {
        return consumer.committed(partition);
    }

    static Map<TopicPartition, OffsetAndMetadata> offsets(AdminClient admin, String group) throws Exception {
        return Client.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
    }

    /** As the kafka-consumer-groups of that time. */
    static void alterOffsets(Client it, String group, Map<TopicPartition, OffsetAndMetadata> offsets) {
        try (KafkaConsumer<String, String> consumer = it.consumer("group.id", group)) {
            consumer.assign(offsets.keySet());
            consumer.commitSync(offsets);
        }
    }

    static void deleteOffsets(Client it, String group, TopicPartition partition) {
        // Since 2.4.
    }

    static void sendOffsets(KafkaProducer<?, ?> producer, Map<TopicPartition, OffsetAndMetadata> offsets,
            KafkaConsumer<?, ?> member, String group) {
        producer.sendOffsetsToTransaction(offsets, group);
    }

    static void describeNew(Client it) {
        // GroupType exists since 4.0.
    }
}
