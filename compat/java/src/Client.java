import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The tools of a row: clients that are closed at its end, its own names, and assertions. */
final class Client implements AutoCloseable {
    /** The longest wait; generous, for busy machines. */
    static final Duration LIMIT = Duration.ofSeconds(60);

    /** The row's own name for a topic or group, or their prefix. */
    final String name;
    private final List<AutoCloseable> open = Collections.synchronizedList(new ArrayList<>());
    private AdminClient admin;

    Client(String row) {
        name = System.getenv("PREFIX") + row;
    }

    // --- clients ------------------------------------------------------------------------------------------

    /** Settings are given as name, value, name, value … */
    KafkaProducer<String, String> producer(Object... settings) {
        return opened(new KafkaProducer<>(common(settings), new StringSerializer(), new StringSerializer()));
    }

    KafkaProducer<byte[], byte[]> bytesProducer(Object... settings) {
        return opened(new KafkaProducer<>(common(settings), new ByteArraySerializer(), new ByteArraySerializer()));
    }

    KafkaConsumer<String, String> consumer(Object... settings) {
        return opened(new KafkaConsumer<>(consuming(settings), new StringDeserializer(), new StringDeserializer()));
    }

    KafkaConsumer<byte[], byte[]> bytesConsumer(Object... settings) {
        return opened(new KafkaConsumer<>(consuming(settings), new ByteArrayDeserializer(), new ByteArrayDeserializer()));
    }

    AdminClient admin() {
        if (admin == null) {
            admin = admin(new Object[0]);
        }
        return admin;
    }

    AdminClient admin(Object... settings) {
        return opened(AdminClient.create(common(settings)));
    }

    private static Map<String, Object> common(Object... settings) {
        Map<String, Object> all = new HashMap<>();
        all.put("bootstrap.servers", System.getenv("BOOTSTRAP"));
        for (int i = 0; i < settings.length; i += 2) {
            all.put((String) settings[i], settings[i + 1]);
        }
        return all;
    }

    private static Map<String, Object> consuming(Object... settings) {
        Map<String, Object> all = common("auto.offset.reset", "earliest");
        all.putAll(common(settings));
        return all;
    }

    <T extends AutoCloseable> T opened(T client) {
        open.add(client);
        return client;
    }

    @Override
    public void close() {
        Collections.reverse(open);
        for (AutoCloseable client : open) {
            try {
                client.close(); // closing it again does nothing
            } catch (Exception error) {
                System.err.println("closing a client of " + name + ": " + error);
            }
        }
    }

    // --- records ------------------------------------------------------------------------------------------

    /** Creates a topic; every client can use it once this returns. */
    String topic(String topic, int partitions) throws Exception {
        get(admin().createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all());
        until("the topic is known", () -> {
            try {
                return Api.describe(admin(), topic).partitions().size() == partitions;
            } catch (ExecutionException unknown) {
                return false;
            }
        });
        // A known topic may not be ready: early records of a producer without acknowledgements would be lost.
        List<TopicPartition> all = new ArrayList<>();
        for (int partition = 0; partition < partitions; partition++) {
            all.add(new TopicPartition(topic, partition));
        }
        try (KafkaConsumer<String, String> consumer = consumer()) {
            same(partitions, consumer.endOffsets(all).size(), "partitions that answer");
        }
        return topic;
    }

    /** Sends "FROM", … "TO" to a partition, and returns when all are acknowledged. */
    void send(String topic, int partition, int from, int to) throws Exception {
        try (KafkaProducer<String, String> producer = producer()) {
            List<Future<?>> sent = new ArrayList<>();
            for (int i = from; i <= to; i++) {
                sent.add(producer.send(new ProducerRecord<>(topic, partition, null, String.valueOf(i))));
            }
            for (Future<?> one : sent) {
                one.get(LIMIT.getSeconds(), TimeUnit.SECONDS);
            }
        }
    }

    /** The records of a partition from an offset to its end that this consumer may read. */
    static <K, V> List<ConsumerRecord<K, V>> rest(KafkaConsumer<K, V> consumer, TopicPartition partition, long from)
            throws Exception {
        consumer.assign(List.of(partition));
        consumer.seek(partition, from);
        long end = consumer.endOffsets(List.of(partition)).get(partition);
        List<ConsumerRecord<K, V>> records = new ArrayList<>();
        until("all of " + partition + " is read", () -> {
            if (consumer.position(partition) < end) {
                consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            }
            return consumer.position(partition) >= end;
        });
        return records;
    }

    static List<String> texts(Collection<ConsumerRecord<String, String>> records) {
        List<String> texts = new ArrayList<>();
        records.forEach(record -> texts.add(record.value()));
        return texts;
    }

    static List<String> numbers(int from, int to) {
        List<String> numbers = new ArrayList<>();
        for (int i = from; i <= to; i++) {
            numbers.add(String.valueOf(i));
        }
        return numbers;
    }

    // --- assertions ---------------------------------------------------------------------------------------

    static <T> T get(Future<T> future) throws Exception {
        return future.get(LIMIT.getSeconds(), TimeUnit.SECONDS);
    }

    static void same(Object expected, Object actual, String what) {
        if (!Objects.deepEquals(expected, actual)) {
            throw new AssertionError(what + ": " + shortly(actual) + ", not " + shortly(expected));
        }
    }

    static void holds(boolean fact, String what) {
        if (!fact) {
            throw new AssertionError("it does not hold that " + what);
        }
    }

    /** The action must fail with this exception, which is returned. */
    static <E extends Throwable> E fails(Class<E> how, Callable<?> action) {
        Object result;
        try {
            result = action.call();
        } catch (Throwable error) {
            Throwable cause = error;
            while (cause instanceof ExecutionException || cause instanceof CompletionException) {
                cause = cause.getCause();
            }
            if (how.isInstance(cause)) {
                return how.cast(cause);
            }
            throw new AssertionError("not " + how.getSimpleName() + " but " + cause, error);
        }
        throw new AssertionError("not " + how.getSimpleName() + " but the answer " + shortly(result));
    }

    static void until(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + LIMIT.toNanos();
        while (!condition.call()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("it did not come about that " + what);
            }
            Thread.sleep(20); // for conditions that do not wait themselves
        }
    }

    private static String shortly(Object value) {
        String text = value instanceof byte[] ? Arrays.toString((byte[]) value) : String.valueOf(value);
        return text.length() > 200 ? text.substring(0, 200) + "…" : text;
    }
}
