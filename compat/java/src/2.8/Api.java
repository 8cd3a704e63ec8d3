import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** The calls that differ between kafka-clients 2.8 to 3.9 and other versions. */
final class Api {
    private Api() {}

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return Client.get(admin.describeTopics(List.of(topic)).all()).get(topic);
    }

    static void alter(AdminClient admin, ConfigResource resource, String name, String value) throws Exception {
        Collection<AlterConfigOp> one = List.of(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET));
        Client.get(admin.incrementalAlterConfigs(Map.of(resource, one)).all());
    }

    static void listOffsets(Client it, TopicPartition partition, long time) throws Exception {
        Client.same(0L, offset(it, partition, OffsetSpec.earliest()), "the earliest, for an admin");
        Client.same(101L, offset(it, partition, OffsetSpec.latest()), "the latest, for an admin");
        Client.same(33L, offset(it, partition, OffsetSpec.forTimestamp(time + 32_500)), "by time, for an admin");
    }

    private static long offset(Client it, TopicPartition partition, OffsetSpec spec) throws Exception {
        return Client.get(it.admin().listOffsets(Map.of(partition, spec)).partitionResult(partition)).offset();
    }

    static OffsetAndMetadata committed(KafkaConsumer<?, ?> consumer, TopicPartition partition) {
        return consumer.committed(Set.of(partition)).get(partition);
    }

    static Map<TopicPartition, OffsetAndMetadata> offsets(AdminClient admin, String group) throws Exception {
        return Client.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
    }

    static void alterOffsets(Client it, String group, Map<TopicPartition, OffsetAndMetadata> offsets) throws Exception {
        Client.get(it.admin().alterConsumerGroupOffsets(group, offsets).all());
    }

    static void deleteOffsets(Client it, String group, TopicPartition partition) throws Exception {
        Client.get(it.admin().deleteConsumerGroupOffsets(group, Set.of(partition)).all());
        Client.same(null, offsets(it.admin(), group).get(partition), "an offset that is deleted");
    }

    static void sendOffsets(KafkaProducer<?, ?> producer, Map<TopicPartition, OffsetAndMetadata> offsets,
            KafkaConsumer<?, ?> member, String group) {
        producer.sendOffsetsToTransaction(offsets, member.groupMetadata());
    }

    static void describeNew(Client it) {
        // GroupType exists since 4.0.
    }
}
