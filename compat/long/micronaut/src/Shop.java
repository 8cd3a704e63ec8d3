package shop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

import io.micronaut.configuration.kafka.annotation.ErrorStrategy;
import io.micronaut.configuration.kafka.annotation.ErrorStrategyValue;
import io.micronaut.configuration.kafka.annotation.KafkaClient;
import io.micronaut.configuration.kafka.annotation.KafkaKey;
import io.micronaut.configuration.kafka.annotation.KafkaListener;
import io.micronaut.configuration.kafka.annotation.OffsetReset;
import io.micronaut.configuration.kafka.annotation.OffsetStrategy;
import io.micronaut.configuration.kafka.annotation.Topic;
import io.micronaut.context.ApplicationContext;
import io.micronaut.messaging.annotation.MessageHeader;
import io.micronaut.messaging.annotation.SendTo;
import org.apache.kafka.clients.admin.AdminClient;

/**
 * An application with Micronaut: a client that sends orders, a listener that answers each in another topic, and one that reads
 * the answers in batches.
 *
 *   Shop HOST:PORT PREFIX FIRST LAST
 *
 * It ends when both groups have committed everything up to the order LAST. An order with a 3 at its end fails twice.
 */
public final class Shop {
    public static void main(String[] args) throws Exception {
        int first = Integer.parseInt(args[2]);
        int last = Integer.parseInt(args[3]);
        try (var context = ApplicationContext.run(Map.of("kafka.bootstrap.servers", args[0], "prefix", args[1]))) {
            Orders orders = context.getBean(Orders.class);
            for (int order = first; order <= last; order++) {
                orders.send("customer-" + order % 10, "window", "" + order);
            }
            AdminClient admin = context.getBean(AdminClient.class);
            awaitCommits(admin, args[1] + "cashiers", last);
            awaitCommits(admin, args[1] + "readers", last);
        }
        System.out.println("failed " + Cashier.failures);
        System.out.println("read " + String.join(" ", Reader.read));
    }

    /** The offsets of the group add up to the total. */
    private static void awaitCommits(AdminClient admin, String group, long total) throws Exception {
        long committed = 0;
        while (committed < total) {
            Thread.sleep(50);
            var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values();
            committed = offsets.stream().mapToLong(offset -> offset.offset()).sum();
        }
    }

    @KafkaClient
    public interface Orders {
        @Topic("${prefix}orders")
        void send(@KafkaKey String customer, @MessageHeader("desk") String desk, String order);
    }

    @KafkaListener(
        groupId = "${prefix}cashiers",
        offsetReset = OffsetReset.EARLIEST,
        offsetStrategy = OffsetStrategy.SYNC_PER_RECORD,
        errorStrategy = @ErrorStrategy(value = ErrorStrategyValue.RETRY_ON_ERROR, retryCount = 3, retryDelay = "10ms"))
    public static class Cashier {
        private static int failures;
        private final Set<String> failed = new HashSet<>();

        @Topic("${prefix}orders")
        @SendTo("${prefix}paid")
        public String pay(@KafkaKey String customer, @MessageHeader("desk") String desk, String order) {
            if (order.endsWith("3") && (failed.add(order) || failed.add(order + " again"))) {
                failures += 1;
                throw new IllegalStateException("no money for " + order);
            }
            return customer + " paid " + order + " at the " + desk;
        }
    }

    @KafkaListener(groupId = "${prefix}readers", offsetReset = OffsetReset.EARLIEST, offsetStrategy = OffsetStrategy.SYNC, batch = true)
    public static class Reader {
        private static final List<String> read = new ArrayList<>();

        @Topic("${prefix}paid")
        public void read(List<String> answers) {
            for (String answer : answers) {
                read.add(answer.split(" ")[2]);
            }
        }
    }
}
