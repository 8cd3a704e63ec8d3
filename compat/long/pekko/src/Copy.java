import java.time.Duration;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.pekko.Done;
import org.apache.pekko.actor.ActorSystem;
import org.apache.pekko.kafka.CommitterSettings;
import org.apache.pekko.kafka.ConsumerMessage;
import org.apache.pekko.kafka.ConsumerSettings;
import org.apache.pekko.kafka.ProducerMessage;
import org.apache.pekko.kafka.ProducerSettings;
import org.apache.pekko.kafka.Subscriptions;
import org.apache.pekko.kafka.javadsl.Consumer;
import org.apache.pekko.kafka.javadsl.Producer;
import org.apache.pekko.kafka.javadsl.Transactional;
import org.apache.pekko.stream.javadsl.Keep;

/**
 * A stream of Pekko that copies a topic of one partition up to the record "end".
 *
 *   Copy HOST:PORT committed FROM TO        commits its offsets in batches
 *   Copy HOST:PORT transactional FROM TO    commits its offsets in the transactions of the copies; the stream fails at every
 *                                           record with "fails" in it when it sees it first, and is started again
 */
public final class Copy {
    private final String from;
    private final String to;
    private final ActorSystem system = ActorSystem.create("copy");
    private final ConsumerSettings<String, String> consumer;
    private final ProducerSettings<String, String> producer;
    private long failed = -1;

    private Copy(String bootstrap, String from, String to) {
        this.from = from;
        this.to = to;
        consumer = ConsumerSettings.create(system, new StringDeserializer(), new StringDeserializer())
            .withBootstrapServers(bootstrap)
            .withGroupId(to)
            .withStopTimeout(Duration.ofMillis(200)) // the default is half a minute, also after a failure
            .withProperty(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        producer = ProducerSettings.create(system, new StringSerializer(), new StringSerializer())
            .withBootstrapServers(bootstrap);
    }

    public static void main(String[] args) throws Exception {
        Copy copy = new Copy(args[0], args[2], args[3]);
        boolean transactional = args[1].equals("transactional");
        for (boolean ended = false; !ended;) {
            try {
                (transactional ? copy.transactional() : copy.committed()).toCompletableFuture().get();
                ended = true;
            } catch (ExecutionException failure) {
                System.out.println(failure.getCause().getMessage());
            }
        }
        copy.system.terminate();
        copy.system.getWhenTerminated().toCompletableFuture().get();
    }

    private CompletionStage<Done> committed() {
        return Consumer.committableSource(consumer, Subscriptions.topics(from))
            .takeWhile(message -> !message.record().value().equals("end"), true)
            .<ProducerMessage.Envelope<String, String, ConsumerMessage.Committable>>map(message ->
                ProducerMessage.single(copy(message.record().key(), message.record().value()), message.committableOffset()))
            .toMat(Producer.committableSink(producer, CommitterSettings.create(system)), Keep.right())
            .run(system);
    }

    private CompletionStage<Done> transactional() {
        return Transactional.source(consumer, Subscriptions.topics(from))
            .takeWhile(message -> !message.record().value().equals("end"), true)
            .map(message -> {
                String value = message.record().value();
                if (value.contains("fails") && failed < message.record().offset()) {
                    failed = message.record().offset();
                    throw new IllegalStateException("failed at " + value);
                }
                return ProducerMessage.single(copy(message.record().key(), value), message.partitionOffset());
            })
            .toMat(Transactional.sink(producer, to), Keep.right())
            .run(system);
    }

    private ProducerRecord<String, String> copy(String key, String value) {
        return new ProducerRecord<>(to, key, value);
    }
}
