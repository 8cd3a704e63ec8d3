import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.kafka.admin.KafkaAdminClient;
import io.vertx.kafka.admin.NewTopic;
import io.vertx.kafka.client.consumer.KafkaConsumer;
import io.vertx.kafka.client.producer.KafkaProducer;
import io.vertx.kafka.client.producer.KafkaProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * An application with Vert.x.
 *
 *   Shop HOST:PORT write TOPIC FIRST LAST      makes the topic if it is not there, and writes orders of ten customers
 *   Shop HOST:PORT copy FROM TO GROUP NUMBER   copies so many records, and waits whenever the producer's queue is full
 *   Shop HOST:PORT transactions TOPIC          commits "kept" and aborts "dropped"
 */
public final class Shop {
    private final Vertx vertx = Vertx.vertx();
    private final String bootstrap;

    private Shop(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) throws Exception {
        Shop shop = new Shop(args[0]);
        switch (args[1]) {
            case "write" -> shop.write(args[2], Integer.parseInt(args[3]), Integer.parseInt(args[4]));
            case "copy" -> shop.copy(args[2], args[3], args[4], Integer.parseInt(args[5]));
            case "transactions" -> shop.transactions(args[2]);
            default -> throw new IllegalArgumentException(args[1]);
        }
        done(shop.vertx.close());
    }

    private void write(String topic, int first, int last) throws Exception {
        KafkaAdminClient admin = KafkaAdminClient.create(vertx, Map.of("bootstrap.servers", bootstrap));
        if (!done(admin.listTopics()).contains(topic)) {
            done(admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))));
        }
        System.out.println("partitions " + done(admin.describeTopics(List.of(topic))).get(topic).getPartitions().size());
        done(admin.close());

        KafkaProducer<String, String> producer = producer(Map.of());
        List<Future<?>> sent = new ArrayList<>();
        for (int order = first; order <= last; order++) {
            var record = KafkaProducerRecord.create(topic, "customer-" + order % 10, "" + order);
            sent.add(producer.send(record.addHeader("shop", "corner")));
        }
        done(Future.all(sent));
        done(producer.close());
        System.out.println("written " + sent.size());
    }

    private void copy(String from, String to, String group, int number) throws Exception {
        KafkaConsumer<String, String> consumer = KafkaConsumer.create(vertx, Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", group,
            "auto.offset.reset", "earliest",
            "enable.auto.commit", "false",
            "key.deserializer", StringDeserializer.class.getName(),
            "value.deserializer", StringDeserializer.class.getName()));
        KafkaProducer<String, String> producer = producer(Map.of());
        producer.setWriteQueueMaxSize(100);
        CompletableFuture<Void> copied = new CompletableFuture<>();
        consumer.exceptionHandler(copied::completeExceptionally);
        producer.exceptionHandler(copied::completeExceptionally);
        AtomicInteger left = new AtomicInteger(number);
        AtomicBoolean waited = new AtomicBoolean();
        consumer.handler(record -> {
            var copy = KafkaProducerRecord.create(to, record.key(), record.value()).addHeaders(record.headers());
            producer.write(copy).onFailure(copied::completeExceptionally).onSuccess(written -> {
                if (left.decrementAndGet() == 0) {
                    copied.complete(null);
                }
            });
            if (producer.writeQueueFull()) {
                if (!waited.getAndSet(true)) {
                    System.out.println("the producer's queue is full");
                }
                consumer.pause();
                producer.drainHandler(drained -> consumer.resume());
            }
        });
        done(consumer.subscribe(from));
        copied.get();
        done(consumer.commit());
        done(consumer.close());
        done(producer.close());

        KafkaAdminClient admin = KafkaAdminClient.create(vertx, Map.of("bootstrap.servers", bootstrap));
        long committed = 0;
        for (var offset : done(admin.listConsumerGroupOffsets(group)).values()) {
            committed += offset.getOffset();
        }
        done(admin.close());
        System.out.println("committed " + committed);
    }

    private void transactions(String topic) throws Exception {
        KafkaProducer<String, String> producer = producer(Map.of("transactional.id", topic));
        done(producer.initTransactions());
        done(producer.beginTransaction());
        done(producer.send(KafkaProducerRecord.create(topic, "kept")));
        done(producer.commitTransaction());
        done(producer.beginTransaction());
        done(producer.send(KafkaProducerRecord.create(topic, "dropped")));
        done(producer.abortTransaction());
        done(producer.close());
    }

    private KafkaProducer<String, String> producer(Map<String, String> more) {
        Map<String, String> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", bootstrap);
        settings.put("key.serializer", StringSerializer.class.getName());
        settings.put("value.serializer", StringSerializer.class.getName());
        return KafkaProducer.create(vertx, settings);
    }

    private static <T> T done(Future<T> future) throws Exception {
        return future.toCompletionStage().toCompletableFuture().get();
    }
}
