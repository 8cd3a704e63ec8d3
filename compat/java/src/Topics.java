import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** The rows about topics, their settings and the cluster. */
final class Topics {
    private Topics() {}

    static void metadata(Client it) throws Exception {
        it.topic(it.name, 3);
        DescribeClusterResult cluster = it.admin().describeCluster();
        List<Node> nodes = List.copyOf(Client.get(cluster.nodes()));
        Client.holds(!nodes.isEmpty(), "there is a broker");
        Client.holds(nodes.contains(Client.get(cluster.controller())), "the controller is a broker");
        Client.holds(!Client.get(cluster.clusterId()).isEmpty(), "the cluster has an id");
        Client.holds(Client.get(it.admin().listTopics().names()).contains(it.name), "the topic is listed");

        List<PartitionInfo> seen = it.producer().partitionsFor(it.name);
        Client.same(3, seen.size(), "partitions, for a producer");
        seen.forEach(partition -> Client.holds(nodes.contains(partition.leader()), "the leader is a broker"));
        KafkaConsumer<String, String> consumer = it.consumer();
        Client.same(3, consumer.listTopics().get(it.name).size(), "partitions, for a consumer");
        TopicDescription described = Api.describe(it.admin(), it.name);
        for (TopicPartitionInfo partition : described.partitions()) {
            Client.same(List.of(partition.leader()), partition.replicas(), "replicas");
            Client.same(List.of(partition.leader()), partition.isr(), "replicas in sync");
        }
    }

    static void topics(Client it) throws Exception {
        AdminClient admin = it.admin();
        NewTopic topic = new NewTopic(it.name, 3, (short) 1).configs(Map.of("retention.ms", "3600000"));
        Client.get(admin.createTopics(List.of(topic)).all());
        Client.until("the topic is listed", () -> Client.get(admin.listTopics().names()).contains(it.name));
        TopicDescription described = Api.describe(admin, it.name);
        Client.same(it.name, described.name(), "the name");
        Client.same(3, described.partitions().size(), "partitions");
        Client.same(false, described.isInternal(), "internal");
        Client.same("3600000", setting(it, it.name, "retention.ms").value(), "retention.ms");

        Client.fails(TopicExistsException.class, () -> Client.get(admin.createTopics(List.of(topic)).all()));
        NewTopic illegal = new NewTopic("no spaces", 1, (short) 1);
        Client.fails(InvalidTopicException.class, () -> Client.get(admin.createTopics(List.of(illegal)).all()));

        Client.get(admin.deleteTopics(List.of(it.name)).all());
        Client.until("the topic is not listed", () -> !Client.get(admin.listTopics().names()).contains(it.name));
        Client.fails(UnknownTopicOrPartitionException.class, () -> Api.describe(admin, it.name));
        Client.fails(UnknownTopicOrPartitionException.class,
            () -> Client.get(admin.deleteTopics(List.of(it.name)).all()));
    }

    static void partitions(Client it) throws Exception {
        it.topic(it.name, 1);
        it.send(it.name, 0, 1, 5);
        Client.get(it.admin().createPartitions(Map.of(it.name, NewPartitions.increaseTo(4))).all());
        Client.until("there are four", () -> Api.describe(it.admin(), it.name).partitions().size() == 4);
        it.send(it.name, 3, 6, 9);
        KafkaConsumer<String, String> consumer = it.consumer();
        Client.same(Client.numbers(1, 5), Client.texts(Client.rest(consumer, new TopicPartition(it.name, 0), 0)), "the old one");
        Client.same(Client.numbers(6, 9), Client.texts(Client.rest(consumer, new TopicPartition(it.name, 3), 0)), "the new one");
        Client.fails(InvalidPartitionsException.class,
            () -> Client.get(it.admin().createPartitions(Map.of(it.name, NewPartitions.increaseTo(2))).all()));
    }

    static void configs(Client it) throws Exception {
        it.topic(it.name, 1);
        ConfigEntry untouched = setting(it, it.name, "retention.ms");
        Client.same("604800000", untouched.value(), "retention.ms");
        Client.same(ConfigEntry.ConfigSource.DEFAULT_CONFIG, untouched.source(), "where it comes from");

        Api.alter(it.admin(), resource(it.name), "retention.ms", "3600000");
        Client.until("it is another", () -> setting(it, it.name, "retention.ms").value().equals("3600000"));
        Client.same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, setting(it, it.name, "retention.ms").source(),
            "where it comes from");
        Client.fails(InvalidConfigurationException.class, () -> {
            Api.alter(it.admin(), resource(it.name), "retention.ms", "soon");
            return null;
        });
        Client.same("3600000", setting(it, it.name, "retention.ms").value(), "after a refusal");

        int node = Client.get(it.admin().describeCluster().nodes()).iterator().next().id();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, String.valueOf(node));
        Config settings = Client.get(it.admin().describeConfigs(List.of(broker)).all()).get(broker);
        Client.holds(settings.get("log.retention.hours") != null, "the broker has log.retention.hours");
    }

    static void deleteRecords(Client it) throws Exception {
        it.topic(it.name, 1);
        TopicPartition partition = new TopicPartition(it.name, 0);
        it.send(it.name, 0, 0, 19);
        long low = Client.get(it.admin().deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(12)))
            .lowWatermarks().get(partition)).lowWatermark();
        Client.same(12L, low, "the low watermark");
        KafkaConsumer<String, String> consumer = it.consumer();
        Client.same(12L, consumer.beginningOffsets(Set.of(partition)).get(partition), "the beginning");
        Client.same(Client.numbers(12, 19), Client.texts(Client.rest(consumer, partition, 0)), "what is left");
        Client.fails(OffsetOutOfRangeException.class, () -> Client.get(it.admin()
            .deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(21))).lowWatermarks().get(partition)));
    }

    static void acls(Client it) throws Exception {
        Client.fails(SecurityDisabledException.class,
            () -> Client.get(it.admin().describeAcls(AclBindingFilter.ANY).values()));
        AclBinding binding = new AclBinding(new ResourcePattern(ResourceType.TOPIC, it.name, PatternType.LITERAL),
            new AccessControlEntry("User:alice", "*", AclOperation.READ, AclPermissionType.ALLOW));
        Client.fails(SecurityDisabledException.class, () -> Client.get(it.admin().createAcls(List.of(binding)).all()));
        Client.fails(SecurityDisabledException.class,
            () -> Client.get(it.admin().deleteAcls(List.of(binding.toFilter())).all()));
    }

    private static ConfigResource resource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private static ConfigEntry setting(Client it, String topic, String name) throws Exception {
        return Client.get(it.admin().describeConfigs(List.of(resource(topic))).all()).get(resource(topic)).get(name);
    }
}
