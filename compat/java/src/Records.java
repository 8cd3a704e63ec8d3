import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;

/** The rows about producing and reading. */
final class Records {
    private Records() {}

    static void codecs(Client it) throws Exception {
        List<String> codecs = List.of("none", "gzip", "snappy", "lz4", "zstd");
        List<String> acks = List.of("0", "1", "all");
        it.topic(it.name, codecs.size() * acks.size());
        KafkaConsumer<String, String> consumer = it.consumer();
        int number = 0;
        for (String codec : codecs) {
            for (String ack : acks) {
                int partition = number++;
                try (KafkaProducer<String, String> producer = it.producer("compression.type", codec, "acks", ack,
                        "enable.idempotence", "false", "linger.ms", "50")) {
                    for (String text : Client.numbers(1, 300)) {
                        producer.send(new ProducerRecord<>(it.name, partition, "key", text));
                    }
                }
                TopicPartition here = new TopicPartition(it.name, partition);
                // A producer without acknowledgements does not wait.
                Client.until(codec + " with acks=" + ack + " has arrived",
                    () -> consumer.endOffsets(Set.of(here)).get(here) == 300);
                Client.same(Client.numbers(1, 300), Client.texts(Client.rest(consumer, here, 0)), codec + " with acks=" + ack);
            }
        }
    }

    static void values(Client it) throws Exception {
        it.topic(it.name, 1);
        long time = 1_700_000_000_123L;
        byte[] empty = {};
        byte[] all = new byte[256];
        for (int i = 0; i < all.length; i++) {
            all[i] = (byte) i;
        }
        List<Header> headers = List.of(new RecordHeader("b", bytes("2")), new RecordHeader("a", bytes("1")),
            new RecordHeader("a", bytes("3")), new RecordHeader("null", (byte[]) null), new RecordHeader("empty", empty));
        List<ProducerRecord<byte[], byte[]>> sent = List.of(
            new ProducerRecord<>(it.name, 0, time, bytes("key"), all, headers),
            record(it, time + 1, null, bytes("no key")),
            record(it, time + 2, bytes("no value"), null),
            record(it, time + 3, null, null),
            record(it, time + 4, empty, empty));
        KafkaProducer<byte[], byte[]> producer = it.bytesProducer();
        for (int i = 0; i < sent.size(); i++) {
            RecordMetadata said = producer.send(sent.get(i)).get(60, TimeUnit.SECONDS);
            Client.same((long) i, said.offset(), "the offset");
            Client.same(time + i, said.timestamp(), "the timestamp in the answer");
        }
        List<ConsumerRecord<byte[], byte[]>> read = Client.rest(it.bytesConsumer(), new TopicPartition(it.name, 0), 0);
        Client.same(sent.size(), read.size(), "records");
        for (int i = 0; i < sent.size(); i++) {
            ConsumerRecord<byte[], byte[]> record = read.get(i);
            Client.same(sent.get(i).key(), record.key(), "key " + i);
            Client.same(sent.get(i).value(), record.value(), "value " + i);
            Client.same(time + i, record.timestamp(), "timestamp " + i);
            Client.same(TimestampType.CREATE_TIME, record.timestampType(), "kind of timestamp " + i);
            Client.same(Arrays.asList(sent.get(i).headers().toArray()), Arrays.asList(record.headers().toArray()), "headers " + i);
        }
    }

    static void large(Client it) throws Exception {
        it.topic(it.name, 1);
        TopicPartition partition = new TopicPartition(it.name, 0);
        KafkaProducer<byte[], byte[]> producer = it.bytesProducer("max.request.size", 5_000_000);
        byte[] large = new byte[1_000_000];
        new Random(1).nextBytes(large);
        producer.send(new ProducerRecord<>(it.name, large)).get(60, TimeUnit.SECONDS);
        Client.fails(RecordTooLargeException.class,
            () -> producer.send(new ProducerRecord<>(it.name, new byte[2_000_000])).get(60, TimeUnit.SECONDS));
        List<ConsumerRecord<byte[], byte[]>> read = Client.rest(it.bytesConsumer(), partition, 0);
        Client.same(1, read.size(), "records kept");
        Client.same(large, read.get(0).value(), "the large one");
        // Larger than a consumer's fetch limit: one record is returned all the same.
        KafkaConsumer<byte[], byte[]> small = it.bytesConsumer("max.partition.fetch.bytes", 1000, "fetch.max.bytes", 1000);
        Client.same(large, Client.rest(small, partition, 0).get(0).value(), "the large one, for a small consumer");
    }

    static void fetch(Client it) throws Exception {
        it.topic(it.name, 1);
        TopicPartition partition = new TopicPartition(it.name, 0);
        long time = 1_700_000_000_000L;
        KafkaProducer<String, String> producer = it.producer();
        for (int i = 0; i < 100; i++) {
            // Batches of ten, ten seconds apart.
            producer.send(new ProducerRecord<>(it.name, 0, time + i * 1000L, null, String.valueOf(i)));
            if (i % 10 == 9) {
                producer.flush();
            }
        }
        KafkaConsumer<String, String> consumer = it.consumer();
        Client.same(0L, consumer.beginningOffsets(Set.of(partition)).get(partition), "the beginning");
        Client.same(100L, consumer.endOffsets(Set.of(partition)).get(partition), "the end");
        Client.same(Client.numbers(0, 99), Client.texts(Client.rest(consumer, partition, 0)), "from the beginning");
        Client.same(Client.numbers(47, 99), Client.texts(Client.rest(consumer, partition, 47)), "from an offset");

        long found = consumer.offsetsForTimes(Map.of(partition, time + 32_500)).get(partition).offset();
        Client.same(33L, found, "the offset of a timestamp");
        Client.same(time + 33_000, consumer.offsetsForTimes(Map.of(partition, time + 32_500)).get(partition).timestamp(),
            "the timestamp found");
        Client.same(null, consumer.offsetsForTimes(Map.of(partition, time + 100_000)).get(partition), "a time after all");

        consumer.seekToEnd(Set.of(partition));
        Client.same(100L, consumer.position(partition), "the position at the end");
        it.send(it.name, 0, 100, 100);
        List<String> later = new ArrayList<>();
        Client.until("what came later is read", () -> {
            consumer.poll(Duration.ofMillis(200)).forEach(record -> later.add(record.value()));
            return !later.isEmpty();
        });
        Client.same(List.of("100"), later, "from the end");
        Api.listOffsets(it, partition, time);
    }

    static void range(Client it) throws Exception {
        it.topic(it.name, 1);
        TopicPartition partition = new TopicPartition(it.name, 0);
        it.send(it.name, 0, 1, 3);
        KafkaConsumer<String, String> resets = it.consumer("auto.offset.reset", "earliest");
        resets.assign(Set.of(partition));
        resets.seek(partition, 99);
        List<String> read = new ArrayList<>();
        Client.until("it begins again", () -> {
            resets.poll(Duration.ofMillis(200)).forEach(record -> read.add(record.value()));
            return read.size() >= 3;
        });
        Client.same(Client.numbers(1, 3), read, "after a reset to the earliest");

        KafkaConsumer<String, String> latest = it.consumer("auto.offset.reset", "latest");
        latest.assign(Set.of(partition));
        latest.seek(partition, 99);
        Client.until("it goes to the end", () -> {
            Client.holds(latest.poll(Duration.ofMillis(200)).isEmpty(), "nothing is read after a reset to the latest");
            return latest.position(partition) == 3;
        });

        KafkaConsumer<String, String> strict = it.consumer("auto.offset.reset", "none");
        strict.assign(Set.of(partition));
        strict.seek(partition, 99);
        OffsetOutOfRangeException error = Client.fails(OffsetOutOfRangeException.class, () -> {
            Client.until("it is told", () -> strict.poll(Duration.ofMillis(200)).count() > 0);
            return "records";
        });
        Client.same(Map.of(partition, 99L), error.offsetOutOfRangePartitions(), "what is out of range");
    }

    static void idempotent(Client it) throws Exception {
        it.topic(it.name, 2);
        KafkaProducer<String, String> producer = it.producer("enable.idempotence", "true", "acks", "all",
            "batch.size", 200, "max.in.flight.requests.per.connection", 5);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int i = 0; i < 5000; i++) {
            sent.add(producer.send(new ProducerRecord<>(it.name, i % 2, null, String.valueOf(i))));
        }
        for (int i = 0; i < 5000; i++) {
            Client.same((long) i / 2, sent.get(i).get(60, TimeUnit.SECONDS).offset(), "the offset of record " + i);
        }
        KafkaConsumer<String, String> consumer = it.consumer();
        for (int partition = 0; partition < 2; partition++) {
            List<String> expected = new ArrayList<>();
            for (int i = partition; i < 5000; i += 2) {
                expected.add(String.valueOf(i));
            }
            Client.same(expected, Client.texts(Client.rest(consumer, new TopicPartition(it.name, partition), 0)), "the records");
        }
    }

    private static ProducerRecord<byte[], byte[]> record(Client it, long time, byte[] key, byte[] value) {
        return new ProducerRecord<>(it.name, 0, time, key, value);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
