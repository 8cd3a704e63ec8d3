import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeoutException;
import java.util.function.Predicate;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;

/** A member of a group: polls on its own thread until it leaves, and records its assignments and the records it read. */
final class Member implements AutoCloseable, ConsumerRebalanceListener {
    private final KafkaConsumer<String, String> consumer;
    private final Thread thread;
    private volatile boolean leaving;
    private final Set<Integer> assigned = new TreeSet<>();
    private final List<Set<Integer>> revoked = new ArrayList<>();
    private final List<String> read = new ArrayList<>();
    private Throwable failure;
    private boolean ended;

    Member(KafkaConsumer<String, String> consumer, String topic) {
        this.consumer = consumer;
        thread = new Thread(() -> poll(topic), "member");
        thread.setDaemon(true);
        thread.start();
    }

    private void poll(String topic) {
        Throwable failed = null;
        try {
            consumer.subscribe(List.of(topic), this);
            while (!leaving) {
                Iterable<ConsumerRecord<String, String>> records = consumer.poll(Duration.ofSeconds(1));
                synchronized (this) {
                    records.forEach(record -> read.add(record.value()));
                    notifyAll();
                }
            }
        } catch (WakeupException woken) {
            // The member leaves.
        } catch (Throwable error) {
            failed = error;
        }
        try {
            consumer.close();
        } catch (Throwable error) {
            failed = failed == null ? error : failed;
        }
        synchronized (this) {
            failure = failed;
            ended = true;
            notifyAll();
        }
    }

    @Override
    public synchronized void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        assigned.addAll(numbers(partitions));
        notifyAll();
    }

    @Override
    public synchronized void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        if (leaving) {
            return; // revoked because it leaves
        }
        assigned.removeAll(numbers(partitions));
        revoked.add(numbers(partitions));
        notifyAll();
    }

    private static Set<Integer> numbers(Collection<TopicPartition> partitions) {
        Set<Integer> numbers = new TreeSet<>();
        partitions.forEach(partition -> numbers.add(partition.partition()));
        return numbers;
    }

    synchronized Set<Integer> assigned() {
        return new TreeSet<>(assigned);
    }

    /** The partitions of each revocation. */
    synchronized List<Set<Integer>> revoked() {
        return new ArrayList<>(revoked);
    }

    synchronized List<String> read() {
        return new ArrayList<>(read);
    }

    Member has(int partitions) throws Exception {
        return until("has " + partitions + " partitions", member -> member.assigned.size() == partitions);
    }

    Member hasRead(int records) throws Exception {
        return until("has read " + records + " records", member -> member.read.size() >= records);
    }

    synchronized Member until(String what, Predicate<Member> condition) throws Exception {
        long end = System.nanoTime() + Client.LIMIT.toNanos();
        while (!condition.test(this)) {
            long left = (end - System.nanoTime()) / 1_000_000;
            if (failure != null) {
                throw new IllegalStateException("a member failed before it " + what, failure);
            }
            if (left <= 0) {
                throw new TimeoutException("no member that " + what + ": it has " + assigned + " and read " + read);
            }
            wait(left);
        }
        return this;
    }

    /** Waits until the member has failed; returns the error. */
    synchronized Throwable fails() throws Exception {
        long end = System.nanoTime() + Client.LIMIT.toNanos();
        while (!ended) {
            long left = (end - System.nanoTime()) / 1_000_000;
            if (left <= 0) {
                throw new TimeoutException("a member that should fail goes on");
            }
            wait(left);
        }
        return failure;
    }

    /** Closes its consumer, which leaves the group unless the member is static. */
    void leave() throws Exception {
        leaving = true;
        consumer.wakeup();
        thread.join(Client.LIMIT.toMillis());
        Client.holds(!thread.isAlive(), "a member that leaves comes to its end");
        if (failure != null) {
            throw new IllegalStateException("a member failed", failure);
        }
    }

    @Override
    public void close() throws Exception {
        if (thread.isAlive()) {
            leave();
        }
    }
}
