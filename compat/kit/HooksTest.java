import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** An application with Kafka's own client meets faults, and its test waits for what it does. */
public final class HooksTest {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    public static void main(String[] args) throws Exception {
        var hooks = new JackdawHooks(args[0]);
        try (var producer = new KafkaProducer<String, String>(
                Map.of("bootstrap.servers", args[1], "client.id", "shop", "retry.backoff.ms", 1),
                new StringSerializer(), new StringSerializer())) {
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
                Map.of("bootstrap.servers", args[1], "group.id", "kitchen", "auto.offset.reset", "earliest", "enable.auto.commit", false),
                new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("orders"));
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
        }

        hooks.waitForGroup("kitchen", "Empty", LIMIT);

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

    private static void send(KafkaProducer<String, String> producer, String value) throws Exception {
        producer.send(new ProducerRecord<>("orders", value)).get();
    }

    private static void check(boolean holds, String why) {
        if (!holds) {
            throw new AssertionError(why);
        }
    }
}
