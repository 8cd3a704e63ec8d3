import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ConsumerGroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;

/** The rows about consumer groups. */
final class Groups {
    private static final Set<Integer> FOUR = Set.of(0, 1, 2, 3);

    private Groups() {}

    private static Member member(Client it, Object... settings) {
        List<Object> all = new ArrayList<>(List.of("group.id", it.name));
        all.addAll(List.of(settings));
        return it.opened(new Member(it.consumer(all.toArray()), it.name));
    }

    private static Object[] classic(Object... more) {
        List<Object> all = new ArrayList<>(List.of("heartbeat.interval.ms", 300, "session.timeout.ms", 30_000));
        all.addAll(List.of(more));
        return all.toArray();
    }

    static void group(Client it) throws Exception {
        share(it, classic());
    }

    /** One member, a second joins and leaves: every record is read once, by the owner of its partition. */
    private static void share(Client it, Object... settings) throws Exception {
        it.topic(it.name, 4);
        Member one = member(it, settings).has(4);
        toEach(it, "first");
        one.hasRead(4);

        Member two = member(it, settings).has(2);
        one.has(2);
        Set<Integer> both = one.assigned();
        both.addAll(two.assigned());
        Client.same(FOUR, both, "what both have together");
        toEach(it, "second");
        one.hasRead(6);
        two.hasRead(2);
        Client.same(texts("second", two.assigned()), sorted(two.read()), "what the second has read");

        two.leave();
        one.has(4);
        toEach(it, "third");
        one.hasRead(10);
        List<String> expected = new ArrayList<>(texts("first", FOUR));
        expected.addAll(texts("third", FOUR));
        List<String> read = one.read();
        read.removeAll(texts("second", FOUR));
        Client.same(sorted(expected), sorted(read), "what the first has read");
        one.leave();
    }

    static void resume(Client it) throws Exception {
        it.topic(it.name, 1);
        TopicPartition partition = new TopicPartition(it.name, 0);
        it.send(it.name, 0, 1, 20);
        Object[] settings = {"group.id", it.name, "enable.auto.commit", "false", "max.poll.records", 4};
        try (KafkaConsumer<String, String> first = it.consumer(settings)) {
            first.subscribe(List.of(it.name));
            Client.same(Client.numbers(1, 12), take(first, 12), "the first 12");
            first.commitSync(Map.of(partition, new OffsetAndMetadata(12, "twelve")));
        }
        try (KafkaConsumer<String, String> second = it.consumer(settings)) {
            second.subscribe(List.of(it.name));
            Client.same(Client.numbers(13, 20), take(second, 8), "the rest");
            Client.same("twelve", Api.committed(second, partition).metadata(), "the metadata of the commit");
            List<Object> committed = Collections.synchronizedList(new ArrayList<>());
            second.commitAsync((offsets, error) -> committed.add(error == null ? offsets.get(partition).offset() : error));
            Client.until("an answer to the commit comes", () -> {
                second.poll(Duration.ofMillis(100));
                return !committed.isEmpty();
            });
            Client.same(List.of(20L), committed, "the offset that is committed");
        }
        it.send(it.name, 0, 21, 25);
        try (KafkaConsumer<String, String> third = it.consumer(settings)) {
            third.subscribe(List.of(it.name));
            Client.same(Client.numbers(21, 25), take(third, 5), "what came later");
        }
        try (KafkaConsumer<String, String> other = it.consumer("group.id", it.name + "-other")) {
            other.subscribe(List.of(it.name));
            Client.same(Client.numbers(1, 25), take(other, 25), "another group");
        }
        Client.same(20L, Api.offsets(it.admin(), it.name).get(partition).offset(), "what the group has committed");
    }

    static void staticMember(Client it) throws Exception {
        it.topic(it.name, 4);
        Member one = member(it, classic("group.instance.id", "one"));
        Member two = member(it, classic("group.instance.id", "two")).has(2);
        one.has(2);
        Set<Integer> had = one.assigned();
        int taken = two.revoked().size();
        one.leave();
        toEach(it, "while it was away");
        Member again = member(it, classic("group.instance.id", "one")).has(2).hasRead(2);
        Client.same(had, again.assigned(), "what it has again");
        Client.same(texts("while it was away", had), sorted(again.read()), "what it reads");
        two.hasRead(2);
        Client.same(taken, two.revoked().size(), "rebalances of the other");

        // A second member with the same instance id fences the first.
        member(it, classic("group.instance.id", "one")).has(2);
        Client.same("FencedInstanceIdException", again.fails().getClass().getSimpleName(), "the error of the first");
        Client.same(taken, two.revoked().size(), "rebalances of the other");
    }

    static void cooperative(Client it) throws Exception {
        Object[] settings = classic("partition.assignment.strategy",
            "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        it.topic(it.name, 4);
        Member one = member(it, settings).has(4);
        Member two = member(it, settings).has(2);
        one.has(2);
        Client.same(List.of(two.assigned()), one.revoked(), "what was taken from the first");
        toEach(it, "shared");
        one.hasRead(2);
        two.hasRead(2);
        Client.same(texts("shared", one.assigned()), sorted(one.read()), "what the first has read");
        Client.same(texts("shared", two.assigned()), sorted(two.read()), "what the second has read");
        two.leave();
        one.has(4);
        Client.same(1, one.revoked().size(), "how often something was taken from the first");
        toEach(it, "alone");
        one.hasRead(6);
        one.leave();
    }

    static void kip848(Client it) throws Exception {
        share(it, "group.protocol", "consumer");
        Api.describeNew(it);
    }

    static void groups(Client it) throws Exception {
        AdminClient admin = it.admin();
        it.topic(it.name, 2);
        it.send(it.name, 0, 1, 10);
        TopicPartition partition = new TopicPartition(it.name, 0);
        Member member = member(it, classic()).has(2).hasRead(10);
        Client.until("the group is listed",
            () -> Client.get(admin.listConsumerGroups().all()).stream().anyMatch(group -> group.groupId().equals(it.name)));
        ConsumerGroupDescription described = describe(admin, it.name);
        Client.same(ConsumerGroupState.STABLE, described.state(), "the state");
        Client.same("range", described.partitionAssignor(), "the assignor");
        Client.same(1, described.members().size(), "members");
        MemberDescription only = described.members().iterator().next();
        Client.same(Set.of(partition, new TopicPartition(it.name, 1)), only.assignment().topicPartitions(), "its partitions");
        Client.fails(GroupNotEmptyException.class, () -> Client.get(admin.deleteConsumerGroups(List.of(it.name)).all()));
        member.leave();

        Client.until("the group is empty", () -> describe(admin, it.name).state() == ConsumerGroupState.EMPTY);
        Client.same(10L, Api.offsets(admin, it.name).get(partition).offset(), "its offset");
        Api.alterOffsets(it, it.name, Map.of(partition, new OffsetAndMetadata(4, "altered")));
        Client.same(new OffsetAndMetadata(4, "altered"), withoutEpoch(Api.offsets(admin, it.name).get(partition)), "its offset, altered");
        try (KafkaConsumer<String, String> next = it.consumer("group.id", it.name, "enable.auto.commit", "false")) {
            next.subscribe(List.of(it.name));
            Client.same(Client.numbers(5, 10), take(next, 6), "what is read from there");
        }
        Client.until("the group is empty again", () -> describe(admin, it.name).state() == ConsumerGroupState.EMPTY);
        Api.deleteOffsets(it, it.name, partition);

        Client.get(admin.deleteConsumerGroups(List.of(it.name)).all());
        Client.holds(Client.get(admin.listConsumerGroups().all()).stream().noneMatch(group -> group.groupId().equals(it.name)),
            "a deleted group is not listed");
        Client.same(Map.of(), Api.offsets(admin, it.name), "offsets of a deleted group");
        Client.fails(GroupIdNotFoundException.class, () -> Client.get(admin.deleteConsumerGroups(List.of(it.name)).all()));
    }

    private static OffsetAndMetadata withoutEpoch(OffsetAndMetadata offset) {
        return new OffsetAndMetadata(offset.offset(), offset.metadata());
    }

    static ConsumerGroupDescription describe(AdminClient admin, String group) throws Exception {
        return Client.get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
    }

    /** Reads until it has this many records; more would be read, too. */
    static List<String> take(KafkaConsumer<String, String> consumer, int count) throws Exception {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        Client.until(count + " records are read", () -> {
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            return records.size() >= count;
        });
        return Client.texts(records);
    }

    /** Sends a record to each of the four partitions. */
    private static void toEach(Client it, String text) {
        try (KafkaProducer<String, String> producer = it.producer()) {
            for (int partition : FOUR) {
                producer.send(new ProducerRecord<>(it.name, partition, null, text + " " + partition));
            }
        }
    }

    private static List<String> texts(String text, Set<Integer> partitions) {
        List<String> texts = new ArrayList<>();
        new TreeSet<>(partitions).forEach(partition -> texts.add(text + " " + partition));
        return texts;
    }

    private static List<String> sorted(List<String> texts) {
        List<String> sorted = new ArrayList<>(texts);
        Collections.sort(sorted);
        return sorted;
    }
}
