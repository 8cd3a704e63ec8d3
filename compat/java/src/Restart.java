import java.util.List;
import java.util.Map;
import java.util.TreeSet;

import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** The row of the restart: writes before the broker is killed, and reads after it is back. */
final class Restart {
    private static final String NAME = System.getenv("PREFIX") + "restart";

    private Restart() {}

    static void before(Client it) throws Exception {
        it.topic(NAME, 2);
        it.send(NAME, 0, 1, 2000);
        it.send(NAME, 1, 2001, 2500);
        KafkaConsumer<String, String> consumer = it.consumer("group.id", NAME, "enable.auto.commit", "false");
        TopicPartition partition = new TopicPartition(NAME, 0);
        consumer.assign(List.of(partition));
        Client.same(List.of("1", "2"), Groups.take(consumer, 2).subList(0, 2), "the first");
        consumer.commitSync(Map.of(partition, new OffsetAndMetadata(700, "seven hundred")));
    }

    static void after(Client it) throws Exception {
        KafkaConsumer<String, String> all = it.consumer();
        Client.same(Client.numbers(1, 2000), Client.texts(Client.rest(all, new TopicPartition(NAME, 0), 0)), "partition 0");
        Client.same(Client.numbers(2001, 2500), Client.texts(Client.rest(all, new TopicPartition(NAME, 1), 0)), "partition 1");
        TopicPartition partition = new TopicPartition(NAME, 0);
        OffsetAndMetadata committed = Api.offsets(it.admin(), NAME).get(partition);
        Client.same(700L, committed.offset(), "the committed offset");
        Client.same("seven hundred", committed.metadata(), "its metadata");
        it.send(NAME, 0, 3000, 3000);
        KafkaConsumer<String, String> consumer = it.consumer("group.id", NAME);
        consumer.subscribe(List.of(NAME));
        List<String> expected = Client.numbers(701, 2000);
        expected.addAll(Client.numbers(2001, 2500));
        expected.add("3000");
        List<String> read = Groups.take(consumer, expected.size());
        Client.same(new TreeSet<>(expected), new TreeSet<>(read), "what the group goes on with");
        Client.same(expected.size(), read.size(), "how much it is");
    }
}
