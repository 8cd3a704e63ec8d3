import java.util.Map;
import java.util.concurrent.CountDownLatch;

import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.BackOff;
import org.springframework.kafka.annotation.DltHandler;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.EnableKafkaRetryTopic;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.scheduling.TaskScheduler;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/**
 * An application with a listener whose failures go through two retry topics to a dead letter topic.
 *
 *   Retries HOST:PORT TOPIC GROUP NUMBER
 *
 * It prints what became of that many orders, with the topic where it happened. An order with a 3 at its end fails twice; one
 * with a 7 always fails, and so does one that is not a number, but that is not repeated.
 */
@Configuration(proxyBeanMethods = false)
@EnableKafka
@EnableKafkaRetryTopic
public class Retries {
    private static String bootstrap;
    private static CountDownLatch left;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        System.setProperty("topic", args[1]);
        System.setProperty("group", args[2]);
        left = new CountDownLatch(Integer.parseInt(args[3]));
        try (var context = new AnnotationConfigApplicationContext(Retries.class, Listener.class)) {
            left.await();
        } // it commits before it ends
    }

    public static class Listener {
        @KafkaListener(topics = "${topic}", groupId = "${group}")
        @RetryableTopic(
            attempts = "3",
            backOff = @BackOff(delay = 200, multiplier = 2),
            exclude = NumberFormatException.class,
            numPartitions = "2")
        void pay(String order, @Header(KafkaHeaders.RECEIVED_TOPIC) String topic) {
            int end = Integer.parseInt(order) % 10;
            if (end == 7 || end == 3 && !topic.endsWith("-400")) {
                throw new IllegalStateException("no money for " + order);
            }
            ended("paid", order, topic);
        }

        @DltHandler
        void bury(String order, @Header(KafkaHeaders.RECEIVED_TOPIC) String topic) {
            ended("buried", order, topic);
        }

        private static synchronized void ended(String how, String order, String topic) {
            System.out.println(how + " " + order + " " + topic);
            left.countDown();
        }
    }

    @Bean
    ConcurrentKafkaListenerContainerFactory<String, String> kafkaListenerContainerFactory() {
        var factory = new ConcurrentKafkaListenerContainerFactory<String, String>();
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest");
        factory.setConsumerFactory(new DefaultKafkaConsumerFactory<>(settings, new StringDeserializer(), new StringDeserializer()));
        return factory;
    }

    @Bean
    KafkaTemplate<String, String> kafkaTemplate() {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap);
        return new KafkaTemplate<>(new DefaultKafkaProducerFactory<>(settings, new StringSerializer(), new StringSerializer()));
    }

    /** It makes the retry topics and the dead letter topic. */
    @Bean
    KafkaAdmin admin() {
        return new KafkaAdmin(Map.of("bootstrap.servers", bootstrap));
    }

    /** It resumes the partitions of the retry topics when their records are due. */
    @Bean
    TaskScheduler scheduler() {
        return new ThreadPoolTaskScheduler();
    }
}
