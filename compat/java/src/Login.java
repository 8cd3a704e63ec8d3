import java.util.List;
import java.util.Set;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.SaslAuthenticationException;

/** The row about logging in with SASL. */
final class Login {
    private static final String USER = System.getenv("SASL_USER");
    private static final String PASSWORD = System.getenv("SASL_PASSWORD");

    private Login() {}

    static void sasl(Client it) throws Exception {
        it.topic(it.name, 3);
        int number = 0;
        for (String mechanism : List.of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")) {
            TopicPartition partition = new TopicPartition(it.name, number++);
            ProducerRecord<String, String> record = new ProducerRecord<>(it.name, partition.partition(), null, mechanism);
            Object[] right = settings(mechanism, PASSWORD);
            Client.get(it.producer(right).send(record));
            KafkaConsumer<String, String> consumer = it.consumer(right);
            Client.same(List.of(mechanism), Client.texts(Client.rest(consumer, partition, 0)), "what was written with " + mechanism);

            Object[] wrong = settings(mechanism, "wrong");
            try (KafkaProducer<String, String> producer = it.producer(wrong)) {
                Client.fails(SaslAuthenticationException.class, () -> Client.get(producer.send(record)));
            }
            try (KafkaConsumer<String, String> reader = it.consumer(wrong)) {
                Client.fails(SaslAuthenticationException.class, () -> reader.endOffsets(Set.of(partition)));
            }
            try (AdminClient admin = it.admin(wrong)) {
                Client.fails(SaslAuthenticationException.class, () -> Client.get(admin.describeCluster().nodes()));
            }
            Client.same(1L, consumer.endOffsets(Set.of(partition)).get(partition), "the end after a refused login");
        }
    }

    private static Object[] settings(String mechanism, String password) {
        return new Object[] {"bootstrap.servers", System.getenv("SASL_BOOTSTRAP"), "security.protocol", "SASL_PLAINTEXT",
            "sasl.mechanism", mechanism, "sasl.jaas.config", jaas(mechanism, USER, password)};
    }

    static String jaas(String mechanism, String user, String password) {
        String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
        return "org.apache.kafka.common.security." + module + " required username=\"" + user + "\" password=\"" + password + "\";";
    }
}
