import java.util.HashSet;
import java.util.Set;

import org.apache.camel.Exchange;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.component.kafka.KafkaConstants;
import org.apache.camel.component.kafka.consumer.KafkaManualCommit;
import org.apache.camel.main.Main;
import org.apache.camel.processor.idempotent.kafka.KafkaIdempotentRepository;

/**
 * A Camel route from topic to topic, with a dead letter topic and with a topic in which it keeps what it has seen.
 *
 *   Orders HOST:PORT PREFIX NUMBER
 *
 * It pays that many orders and ends. An order with a 3 at its end fails once and is repeated; one with a 7 always fails.
 */
public final class Orders extends RouteBuilder {
    private final String bootstrap;
    private final String prefix;
    private final Set<String> failed = new HashSet<>(); // of one consumer, in one thread

    private Orders(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
    }

    public static void main(String[] args) throws Exception {
        Main main = new Main();
        main.configure().addRoutesBuilder(new Orders(args[0], args[1]));
        main.configure().withDurationMaxMessages(Integer.parseInt(args[2]));
        main.run();
        System.exit(main.getExitCode());
    }

    @Override
    public void configure() {
        errorHandler(deadLetterChannel("direct:dead").maximumRedeliveries(2).redeliveryDelay(10));

        from(kafka("orders", "groupId=" + prefix + "cashiers", "autoOffsetReset=earliest",
                "autoCommitEnable=false", "allowManualCommit=true"))
            .idempotentConsumer(body(), new KafkaIdempotentRepository(prefix + "seen", bootstrap))
                .process(this::pay)
                .to(kafka("paid"))
            .end()
            .process(Orders::commit);

        from("direct:dead")
            .setHeader("reason", simple("${exception.message}"))
            .to(kafka("dead"))
            .process(Orders::commit);
    }

    private void pay(Exchange exchange) {
        String order = exchange.getMessage().getBody(String.class);
        if (order.endsWith("7") || order.endsWith("3") && failed.add(order)) {
            throw new IllegalStateException("no money for " + order);
        }
        exchange.getMessage().setHeader(KafkaConstants.KEY, "customer-" + order);
        exchange.getMessage().setHeader("cashier", "Camel");
        exchange.getMessage().setBody("paid " + order);
    }

    private static void commit(Exchange exchange) {
        exchange.getMessage().getHeader(KafkaConstants.MANUAL_COMMIT, KafkaManualCommit.class).commit();
    }

    private String kafka(String topic, String... options) {
        return "kafka:" + prefix + topic + "?" + String.join("&", options) + (options.length > 0 ? "&" : "") + "brokers=" + bootstrap;
    }
}
