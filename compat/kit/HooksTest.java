import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.errors.KafkaStorageException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** An application with Kafka's own client meets faults, and its test waits for what it does. */
public final class HooksTest {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    public static void main(String[] args) throws Exception {
        var hooks = new JackdawHooks(args[0]);
        try (var producer = producer(Map.of("bootstrap.servers", args[1], "client.id", "shop", "retry.backoff.ms", 1))) {
            // A lost answer and an error that may be repeated: an idempotent producer stores the record once.
            send(producer, "first");
            hooks.inject(JackdawHooks.fault("Produce").client("shop").cut("before-answer"));
            var refused = JackdawHooks.fault("Produce").client("shop").times(2).error("NOT_LEADER_OR_FOLLOWER");
            long last = hooks.inject(refused);
            send(producer, "second");
            hooks.waitForFault(last, LIMIT);
            check(hooks.waitForRecords("orders", 2, LIMIT) == 2, "two records");

            // An error that may not be repeated reaches the application.
            hooks.inject(JackdawHooks.fault("Produce").client("shop").error("MESSAGE_TOO_LARGE"));
            try {
                send(producer, "refused");
                throw new AssertionError("the record was refused");
            } catch (ExecutionException error) {
                check(error.getCause() instanceof RecordTooLargeException, error.toString());
            }
        }

        // A group reads everything.
        try (var consumer = new KafkaConsumer<String, String>(
                Map.of("bootstrap.servers", args[1], "group.id", "kitchen", "auto.offset.reset", "earliest", "enable.auto.commit", false,
                        "heartbeat.interval.ms", 100),
                new StringDeserializer(), new StringDeserializer())) {
            var assigned = new AtomicInteger();
            consumer.subscribe(List.of("orders"), counting(assigned));
            for (int read = 0; read < 2;) {
                read += consumer.poll(LIMIT).count();
            }
            hooks.waitForGroup("kitchen", 1, LIMIT);
            try {
                hooks.waitForNoLag("kitchen", "orders", Duration.ZERO);
                throw new AssertionError("nothing was committed");
            } catch (JackdawHooks.HookException error) {
                check(error.isTimeout(), error.toString());
                check(error.getMessage().equals("the group kitchen is 2 records behind"), error.toString());
            }
            consumer.commitSync();
            hooks.waitForNoLag("kitchen", "orders", LIMIT);
            hooks.waitForNoLag("kitchen", LIMIT);

            // What happens to a cluster happens when the test wants it.
            Runnable[] actions = {
                () -> hooks.rebalance("kitchen"),
                () -> hooks.expireSession("kitchen", consumer.groupMetadata().memberId()),
            };
            for (var action : actions) {
                int before = assigned.get();
                action.run();
                while (assigned.get() == before) {
                    consumer.poll(Duration.ofMillis(100));
                }
            }
            hooks.turnClock(Duration.ofHours(1));
            hooks.waitForGroup("kitchen", "Empty", LIMIT);
        }

        commitsNothingAfter(() -> hooks.fenceProducer("till"), args[1]);
        commitsNothingAfter(() -> hooks.abortTransaction("till"), args[1]);

        hooks.stopBroker(1);
        hooks.startBroker(1);
        hooks.moveLeader("orders", 0, 1);
        hooks.fillDisk();
        try (var producer = producer(Map.of("bootstrap.servers", args[1], "retries", 0, "enable.idempotence", false))) {
            try {
                send(producer, "refused");
                throw new AssertionError("the disk is full");
            } catch (ExecutionException error) {
                check(error.getCause() instanceof KafkaStorageException, error.toString());
            }
            hooks.freeDisk();
            send(producer, "third");
        }

        // Wrong arguments are refused with the reason.
        try {
            hooks.inject(JackdawHooks.fault("Produce").error("NO_SUCH_ERROR"));
            throw new AssertionError("there is no such error");
        } catch (JackdawHooks.HookException error) {
            check(error.status == 400 && error.getMessage().startsWith("NO_SUCH_ERROR is no error"), error.toString());
        }
        long unused = hooks.inject(JackdawHooks.fault("Fetch").client("nobody").answerDelay(Duration.ofSeconds(1)));
        check(hooks.faults().contains("nobody"), hooks.faults());
        check(hooks.removeFault(unused), "it was not used up");
        check(!hooks.removeFault(unused), "it was removed before");
        hooks.removeAllFaults();
        System.exit(0);
    }

    private static void commitsNothingAfter(Runnable action, String bootstrap) throws Exception {
        try (var till = producer(Map.of("bootstrap.servers", bootstrap, "transactional.id", "till"))) {
            till.initTransactions();
            till.beginTransaction();
            send(till, "in a transaction");
            action.run();
            till.commitTransaction();
            throw new AssertionError("an aborted transaction was committed");
        } catch (ProducerFencedException | InvalidTxnStateException expected) {
            // As after the start of another producer with the same id, and after a timeout.
        }
    }

    private static KafkaProducer<String, String> producer(Map<String, Object> settings) {
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    private static ConsumerRebalanceListener counting(AtomicInteger assigned) {
        return new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                assigned.incrementAndGet();
            }
        };
    }

    private static void send(KafkaProducer<String, String> producer, String value) throws Exception {
        producer.send(new ProducerRecord<>("orders", value)).get();
    }

    private static void check(boolean holds, String why) {
        if (!holds) {
            throw new AssertionError(why);
        }
    }
}
