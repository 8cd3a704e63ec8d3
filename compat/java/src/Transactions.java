import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;

/** The row of transactions: reads, processes and writes, commits once, aborts once, and is fenced. */
final class Transactions {
    private Transactions() {}

    static void transactions(Client it) throws Exception {
        String input = it.topic(it.name + "-in", 1);
        String output = it.topic(it.name + "-out", 2);
        it.send(input, 0, 1, 20);
        TopicPartition from = new TopicPartition(input, 0);
        KafkaConsumer<String, String> reader = it.consumer("group.id", it.name, "enable.auto.commit", "false");
        reader.subscribe(List.of(input));
        Client.until("the group's member has read", () -> !reader.poll(Duration.ofMillis(200)).isEmpty());

        KafkaProducer<String, String> producer = it.producer("transactional.id", it.name);
        producer.initTransactions();
        producer.beginTransaction();
        write(producer, output, 1, 10);
        Api.sendOffsets(producer, Map.of(from, new OffsetAndMetadata(7, "seven")), reader, it.name);
        KafkaConsumer<String, String> committed = it.consumer("isolation.level", "read_committed");
        for (int partition = 0; partition < 2; partition++) {
            Client.same(0L, end(committed, output, partition), "what is stable while the transaction goes on");
        }
        producer.commitTransaction();

        producer.beginTransaction();
        write(producer, output, 11, 20);
        Api.sendOffsets(producer, Map.of(from, new OffsetAndMetadata(13)), reader, it.name);
        producer.flush();
        producer.abortTransaction();

        producer.beginTransaction();
        producer.commitTransaction(); // an empty transaction

        KafkaConsumer<String, String> uncommitted = it.consumer("isolation.level", "read_uncommitted");
        untilAllIsStable(committed, uncommitted, output);
        for (int partition = 0; partition < 2; partition++) {
            TopicPartition to = new TopicPartition(output, partition);
            Client.same(Client.numbers(1, 10), Client.texts(Client.rest(committed, to, 0)), "read_committed");
            Client.same(Client.numbers(1, 20), Client.texts(Client.rest(uncommitted, to, 0)), "read_uncommitted");
        }
        OffsetAndMetadata offset = Api.offsets(it.admin(), it.name).get(from);
        Client.same(7L, offset.offset(), "the group's offset");
        Client.same("seven", offset.metadata(), "the offset's metadata");

        // Another producer with the same id aborts the first one's transaction.
        producer.beginTransaction();
        write(producer, output, 21, 25);
        producer.flush();
        KafkaProducer<String, String> next = it.producer("transactional.id", it.name);
        next.initTransactions();
        Client.fails(ProducerFencedException.class, () -> {
            producer.commitTransaction();
            return "committed";
        });
        next.beginTransaction();
        write(next, output, 26, 30);
        next.commitTransaction();
        untilAllIsStable(committed, uncommitted, output);
        for (int partition = 0; partition < 2; partition++) {
            List<String> read = Client.texts(Client.rest(committed, new TopicPartition(output, partition), 0));
            Client.same(Client.numbers(26, 30), read.subList(10, read.size()), "after the fenced one");
        }
    }

    /** A commit is answered before its markers are written to the partitions. */
    private static void untilAllIsStable(KafkaConsumer<String, String> committed, KafkaConsumer<String, String> uncommitted,
            String topic) throws Exception {
        for (int partition = 0; partition < 2; partition++) {
            int asked = partition;
            Client.until("no transaction is open", () -> end(committed, topic, asked) == end(uncommitted, topic, asked));
        }
    }

    private static void write(KafkaProducer<String, String> producer, String topic, int from, int to) throws Exception {
        for (String text : Client.numbers(from, to)) {
            for (int partition = 0; partition < 2; partition++) {
                producer.send(new ProducerRecord<>(topic, partition, null, text));
            }
        }
    }

    private static long end(KafkaConsumer<String, String> consumer, String topic, int partition) {
        TopicPartition asked = new TopicPartition(topic, partition);
        return consumer.endOffsets(Set.of(asked)).get(asked);
    }
}
