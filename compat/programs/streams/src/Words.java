import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * Counts words: the lines of APPLICATION-lines, grouped by word through a repartition topic, are counted in a store
 * with a changelog, and every new count is written to APPLICATION-counts. Runs until it gets SIGTERM.
 *
 *   Words HOST:PORT APPLICATION STATE-FOLDER [GUARANTEE]    at_least_once by default
 *   Words HOST:PORT feed APPLICATION NUMBER LINE            writes the line so many times, 40 a second
 *   Words HOST:PORT settings TOPIC…                         prints settings of topics
 */
public final class Words {
    private static final int PARTITIONS = 4;

    private Words() {}

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        if (args[1].equals("settings")) {
            settings(properties, Arrays.copyOfRange(args, 2, args.length));
            return;
        }
        if (args[1].equals("feed")) {
            feed(properties, args[2] + "-lines", Integer.parseInt(args[3]), args[4]);
            return;
        }
        String application = args[1];
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, args[2]);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args.length > 3 ? args[3] : StreamsConfig.AT_LEAST_ONCE);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 200);
        properties.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 500);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0); // every count is written, not only the last of several
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        properties.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 500);
        // It does not leave its group when it closes, so the next one waits for this time.
        properties.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6000);
        create(properties, application + "-lines", application + "-counts");

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(application + "-lines", Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> List.of(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("by-word", Serdes.String(), Serdes.String()))
            .count(Materialized.as("store"))
            .toStream()
            .mapValues(String::valueOf)
            .to(application + "-counts", Produced.with(Serdes.String(), Serdes.String()));

        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        streams.setGlobalStateRestoreListener(new Restored());
        streams.setStateListener((now, before) -> System.out.println("state " + now));
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println("closed in time: " + streams.close(Duration.ofSeconds(60)));
            closed.countDown();
        }));
        streams.start();
        closed.await();
    }

    private static void create(Properties properties, String... names) throws Exception {
        try (Admin admin = Admin.create(properties)) {
            for (String name : names) {
                try {
                    admin.createTopics(List.of(new NewTopic(name, PARTITIONS, (short) 1))).all().get();
                } catch (ExecutionException error) {
                    if (!(error.getCause() instanceof TopicExistsException)) {
                        throw error;
                    }
                }
            }
        }
    }

    /** The producer is idempotent and outlives a restart of the broker, so each line is there once. */
    private static void feed(Properties properties, String topic, int number, String line) throws Exception {
        try (var producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < number; i++) {
                producer.send(new ProducerRecord<>(topic, line));
                Thread.sleep(25);
            }
        }
    }

    private static void settings(Properties properties, String... topics) throws Exception {
        try (Admin admin = Admin.create(properties)) {
            for (String topic : topics) {
                ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
                Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
                System.out.println(topic);
                for (String name : List.of("cleanup.policy", "retention.ms", "segment.bytes")) {
                    System.out.println(name + "=" + config.get(name).value());
                }
            }
        }
    }

    /** Logs how many records of a store were restored from its changelog. */
    private static final class Restored implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long to, long count) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long count) {
            System.out.println("restored " + count + " of " + partition);
        }
    }
}
