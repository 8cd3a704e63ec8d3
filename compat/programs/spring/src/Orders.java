import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.DefaultAfterRollbackProcessor;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.kafka.transaction.KafkaTransactionManager;
import org.springframework.transaction.support.TransactionTemplate;
import org.springframework.util.backoff.FixedBackOff;

/**
 * An application with Spring's transactional templates.
 *
 *   Orders HOST:PORT template TOPIC                commits "kept" and "kept in a local transaction", and rolls two back
 *   Orders HOST:PORT listener FROM TO GROUP NUMBER  copies that many records, each in a transaction with its offset;
 *                                                   the listener fails once at every tenth record after it has sent it
 */
public final class Orders {
    private final String bootstrap;
    private final DefaultKafkaProducerFactory<String, String> producers;
    private final KafkaTemplate<String, String> template;

    private Orders(String bootstrap, String id) {
        this.bootstrap = bootstrap;
        producers = new DefaultKafkaProducerFactory<>(settings(), new StringSerializer(), new StringSerializer());
        producers.setTransactionIdPrefix(id);
        template = new KafkaTemplate<>(producers);
    }

    private Map<String, Object> settings() {
        return new HashMap<>(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        Orders orders = new Orders(args[0], args[2] + "-");
        if (args[1].equals("template")) {
            orders.template(args[2]);
        } else {
            orders.listener(args[2], args[3], args[4], Integer.parseInt(args[5]));
        }
        orders.producers.destroy();
    }

    private void template(String topic) {
        TransactionTemplate transaction = new TransactionTemplate(new KafkaTransactionManager<>(producers));
        transaction.executeWithoutResult(status -> send(topic, "kept"));
        transaction.executeWithoutResult(status -> {
            send(topic, "rolled back");
            status.setRollbackOnly();
        });
        template.executeInTransaction(operations -> operations.send(topic, "kept in a local transaction"));
        try {
            template.executeInTransaction(operations -> {
                operations.send(topic, "rolled back by an exception");
                operations.flush();
                throw new IllegalStateException("meant");
            });
        } catch (IllegalStateException meant) {
            System.out.println("rolled back: " + meant.getMessage());
        }
        try {
            send(topic, "outside");
        } catch (IllegalStateException refused) {
            System.out.println("a send without a transaction is refused");
        }
    }

    /** A failed transaction is rolled back, and its record is delivered again. */
    private void listener(String from, String to, String group, int number) throws Exception {
        Map<String, Object> settings = settings();
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", false);
        settings.put("isolation.level", "read_committed");
        var consumers = new DefaultKafkaConsumerFactory<>(settings, new StringDeserializer(), new StringDeserializer());
        CountDownLatch left = new CountDownLatch(number);
        ContainerProperties properties = new ContainerProperties(from);
        properties.setKafkaAwareTransactionManager(new KafkaTransactionManager<>(producers));
        properties.setMessageListener(new MessageListener<String, String>() {
            private long failed = -1;

            @Override
            public void onMessage(ConsumerRecord<String, String> record) {
                send(to, record.value());
                if (record.offset() % 10 == 9 && failed < record.offset()) {
                    failed = record.offset();
                    template.flush();
                    throw new IllegalStateException("meant");
                }
                left.countDown();
            }
        });
        var container = new KafkaMessageListenerContainer<>(consumers, properties);
        container.setAfterRollbackProcessor(new DefaultAfterRollbackProcessor<>(new FixedBackOff(0, 3)));
        container.start();
        left.await();
        container.stop(); // it commits the last transaction before it ends
        System.out.println("copied " + number);
    }

    private void send(String topic, String value) {
        template.send(topic, value);
    }
}
