import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.GroupAuthorizationException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.SslAuthenticationException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** The rows with the broker that has TLS and an authorizer; BOOTSTRAP is of a super user there. */
final class Secured {
    private Secured() {}

    static void tls(Client it) throws Exception {
        it.topic(it.name, 1);
        TopicPartition partition = new TopicPartition(it.name, 0);
        Object[] plain = at("TLS_BOOTSTRAP", "ca");
        Object[] without = at("CERTIFIED_BOOTSTRAP", "ca");
        // Only as `certified`, the name by a rule for that of the certificate, the client is a super user.
        Object[] certified = and(without, "ssl.keystore.location", System.getenv("CERTIFICATES") + "/client.p12",
            "ssl.keystore.type", "PKCS12", "ssl.keystore.password", "secret", "ssl.key.password", "secret");
        List<String> sent = new ArrayList<>();
        for (Object[] settings : List.of(plain, certified, user("SASL"))) {
            sent.add("record " + sent.size());
            Client.get(it.producer(settings).send(new ProducerRecord<>(it.name, 0, null, sent.get(sent.size() - 1))));
            Client.same(sent, Client.texts(Client.rest(it.consumer(settings), partition, 0)), "what was written with TLS");
        }
        for (Object[] settings : List.of(at("TLS_BOOTSTRAP", "other-ca"), without)) {
            KafkaProducer<String, String> producer = it.producer(settings);
            Client.fails(SslAuthenticationException.class, () -> Client.get(producer.send(new ProducerRecord<>(it.name, "refused"))));
            KafkaConsumer<String, String> consumer = it.consumer(settings);
            Client.fails(SslAuthenticationException.class, () -> consumer.endOffsets(Set.of(partition)));
        }
    }

    static void oauth(Client it) throws Exception {
        it.topic(it.name, 1);
        TopicPartition partition = new TopicPartition(it.name, 0);
        Client.get(it.producer(token("good")).send(new ProducerRecord<>(it.name, 0, null, "written")));
        KafkaConsumer<String, String> consumer = it.consumer(token("good"));
        Client.same(List.of("written"), Client.texts(Client.rest(consumer, partition, 0)), "what was written with a token");
        for (String wrong : List.of("expired", "audience", "stranger")) {
            KafkaProducer<String, String> producer = it.producer(token(wrong));
            Client.fails(SaslAuthenticationException.class,
                () -> Client.get(producer.send(new ProducerRecord<>(it.name, 0, null, wrong))));
            KafkaConsumer<String, String> reader = it.consumer(token(wrong));
            Client.fails(SaslAuthenticationException.class, () -> reader.endOffsets(Set.of(partition)));
        }
        Client.same(1L, consumer.endOffsets(Set.of(partition)).get(partition), "the end after the refused logins");
    }

    static void acls(Client it) throws Exception {
        it.topic(it.name, 1);
        it.send(it.name, 0, 1, 1);
        AclBinding describe = acl(it, ResourceType.TOPIC, AclOperation.DESCRIBE, AclPermissionType.ALLOW);
        AclBinding read = acl(it, ResourceType.TOPIC, AclOperation.READ, AclPermissionType.ALLOW);
        AclBinding write = acl(it, ResourceType.TOPIC, AclOperation.WRITE, AclPermissionType.ALLOW);
        AclBinding denial = acl(it, ResourceType.TOPIC, AclOperation.WRITE, AclPermissionType.DENY);
        AclBinding group = acl(it, ResourceType.GROUP, AclOperation.READ, AclPermissionType.ALLOW);

        refusedToWrite(it);
        create(it, describe);
        KafkaConsumer<String, String> reader = it.consumer(user("ACL"));
        TopicPartition partition = new TopicPartition(it.name, 0);
        Client.fails(TopicAuthorizationException.class, () -> Client.rest(reader, partition, 0));
        create(it, read);
        Client.same(List.of("1"), Client.texts(Client.rest(it.consumer(user("ACL")), partition, 0)), "what is read");

        Client.same(GroupAuthorizationException.class, member(it).fails().getClass(), "the error of a member");
        create(it, group);
        member(it).hasRead(1).leave();

        refusedToWrite(it);
        create(it, write);
        Client.same(1L, write(it), "the offset of the first record");
        create(it, denial);
        refusedToWrite(it);
        AclBindingFilter any = new AclBindingFilter(describe.pattern().toFilter(), AccessControlEntryFilter.ANY);
        Client.same(Set.of(describe, read, write, denial), new HashSet<>(Client.get(it.admin().describeAcls(any).values())), "ACLs");
        delete(it, denial);
        Client.same(2L, write(it), "the offset of the second record");
        delete(it, write);
        refusedToWrite(it);
    }

    private static AclBinding acl(Client it, ResourceType type, AclOperation operation, AclPermissionType permission) {
        return new AclBinding(new ResourcePattern(type, it.name, PatternType.LITERAL),
            new AccessControlEntry("User:" + System.getenv("ACL_USER"), "*", operation, permission));
    }

    private static void create(Client it, AclBinding acl) throws Exception {
        Client.get(it.admin().createAcls(List.of(acl)).all());
    }

    private static void delete(Client it, AclBinding acl) throws Exception {
        Client.same(List.of(acl), new ArrayList<>(Client.get(it.admin().deleteAcls(List.of(acl.toFilter())).all())), "deleted ACLs");
    }

    private static Member member(Client it) throws Exception {
        return it.opened(new Member(it.consumer(and(user("ACL"), "group.id", it.name)), it.name));
    }

    private static long write(Client it) throws Exception {
        try (KafkaProducer<String, String> producer = it.producer(user("ACL"))) {
            return Client.get(producer.send(new ProducerRecord<>(it.name, 0, null, "written"))).offset();
        }
    }

    private static void refusedToWrite(Client it) throws Exception {
        // An idempotent producer, the default, may be refused before it writes, and with another error.
        try (KafkaProducer<String, String> producer = it.producer(and(user("ACL"), "enable.idempotence", "false"))) {
            Client.fails(TopicAuthorizationException.class,
                () -> Client.get(producer.send(new ProducerRecord<>(it.name, 0, null, "refused"))));
        }
    }

    // --- settings -----------------------------------------------------------------------------------------

    private static Object[] at(String listener, String authority) throws Exception {
        return new Object[] {"bootstrap.servers", System.getenv(listener), "security.protocol", "SSL",
            "ssl.truststore.location", truststore(authority), "ssl.truststore.type", "PKCS12", "ssl.truststore.password", "secret"};
    }

    /** A user with TLS and SCRAM: SASL or ACL, as in the names of the environment. */
    private static Object[] user(String who) throws Exception {
        return and(at("SASL_TLS_BOOTSTRAP", "ca"), "security.protocol", "SASL_SSL", "sasl.mechanism", "SCRAM-SHA-256",
            "sasl.jaas.config", Login.jaas("SCRAM-SHA-256", System.getenv(who + "_USER"), System.getenv(who + "_PASSWORD")));
    }

    /** A client with TLS and the token in a file of compat/certificates. */
    private static Object[] token(String name) throws Exception {
        String token = Files.readString(Path.of(System.getenv("CERTIFICATES"), name + ".jwt"));
        return and(at("SASL_TLS_BOOTSTRAP", "ca"), "security.protocol", "SASL_SSL", "sasl.mechanism", "OAUTHBEARER",
            "sasl.login.callback.handler.class", Token.class.getName(), "sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required token=\"" + token + "\";");
    }

    private static Object[] and(Object[] settings, Object... more) {
        List<Object> all = new ArrayList<>(Arrays.asList(settings));
        all.addAll(Arrays.asList(more));
        return all.toArray();
    }

    /** An authority as old versions of Java's client take it. */
    private static synchronized String truststore(String authority) throws Exception {
        Path store = Path.of(System.getenv("WORK"), authority + ".p12");
        if (Files.notExists(store)) {
            KeyStore trusted = KeyStore.getInstance("PKCS12");
            trusted.load(null, null);
            try (InputStream pem = Files.newInputStream(Path.of(System.getenv("CERTIFICATES"), authority + ".pem"));
                    OutputStream out = Files.newOutputStream(store)) {
                trusted.setCertificateEntry(authority, CertificateFactory.getInstance("X.509").generateCertificate(pem));
                trusted.store(out, "secret".toCharArray());
            }
        }
        return store.toString();
    }
}
