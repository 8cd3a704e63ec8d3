import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's command-line tools as threads of this process. Each has its own standard input and output. An exit ends
 * only the tool, and its shutdown hooks run when it ends or is interrupted.
 */
final class Tool {
    private static final Map<String, String> CLASSES = Map.ofEntries(
        Map.entry("kafka-acls", "org.apache.kafka.tools.AclCommand"),
        Map.entry("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
        Map.entry("kafka-client-metrics", "org.apache.kafka.tools.ClientMetricsCommand"),
        Map.entry("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
        Map.entry("kafka-configs", "kafka.admin.ConfigCommand"),
        Map.entry("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
        Map.entry("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
        Map.entry("kafka-console-share-consumer", "org.apache.kafka.tools.consumer.ConsoleShareConsumer"),
        Map.entry("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
        Map.entry("kafka-consumer-perf-test", "org.apache.kafka.tools.ConsumerPerformance"),
        Map.entry("kafka-delegation-tokens", "org.apache.kafka.tools.DelegationTokenCommand"),
        Map.entry("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
        Map.entry("kafka-dump-log", "org.apache.kafka.tools.DumpLogSegments"),
        Map.entry("kafka-e2e-latency", "org.apache.kafka.tools.EndToEndLatency"),
        Map.entry("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
        Map.entry("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
        Map.entry("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
        Map.entry("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
        Map.entry("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
        Map.entry("kafka-metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
        Map.entry("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
        Map.entry("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"),
        Map.entry("kafka-replica-verification", "org.apache.kafka.tools.ReplicaVerificationTool"),
        Map.entry("kafka-share-consumer-perf-test", "org.apache.kafka.tools.ShareConsumerPerformance"),
        Map.entry("kafka-share-groups", "org.apache.kafka.tools.consumer.group.ShareGroupCommand"),
        Map.entry("kafka-streams-application-reset", "org.apache.kafka.tools.StreamsResetter"),
        Map.entry("kafka-streams-groups", "org.apache.kafka.tools.streams.StreamsGroupCommand"),
        Map.entry("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
        Map.entry("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
        Map.entry("kafka-verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer"),
        Map.entry("kafka-verifiable-producer", "org.apache.kafka.tools.VerifiableProducer"));

    /** The run to which a thread belongs; the threads that a tool starts inherit it. */
    private static final InheritableThreadLocal<Run> CURRENT = new InheritableThreadLocal<>();

    private Tool() {}

    static boolean asksABroker(String tool) {
        return CLASSES.containsKey(tool) && !tool.equals("kafka-dump-log");
    }

    /** From here on the input, output and exit of a thread are those of its run. */
    static void takeOver() {
        PrintStream console = System.out;
        OutputStream split = new OutputStream() {
            @Override
            public void write(int one) {
                write(new byte[] {(byte) one}, 0, 1);
            }

            @Override
            public void write(byte[] bytes, int from, int length) {
                Run run = CURRENT.get();
                if (run == null) {
                    console.write(bytes, from, length);
                } else if (!run.over()) {
                    run.output.write(bytes, from, length);
                }
            }

            @Override
            public void flush() {
                console.flush();
            }
        };
        PrintStream shared = new PrintStream(split, true, StandardCharsets.UTF_8);
        System.setOut(shared);
        System.setErr(shared);
        System.setIn(new InputStream() {
            @Override
            public int read() {
                return CURRENT.get().input.read();
            }

            @Override
            public int read(byte[] bytes, int from, int length) {
                return CURRENT.get().input.read(bytes, from, length);
            }

            @Override
            public int available() {
                return CURRENT.get().input.available();
            }
        });
        Exit.setExitProcedure((status, message) -> {
            Run run = CURRENT.get();
            if (run != null) {
                run.exit(status);
            }
            throw new Ended();
        });
        Exit.setHaltProcedure((status, message) -> {
            throw new Ended();
        });
        Exit.setShutdownHookAdder((name, hook) -> CURRENT.get().hooks.add(hook));
    }

    static Run start(String tool, List<String> args, String stdin) {
        String name = CLASSES.get(tool);
        if (name == null) {
            throw new IllegalArgumentException("there is no tool " + tool);
        }
        Run run = new Run(tool, stdin);
        run.thread = new Thread(run.group, () -> run.play(name, args.toArray(String[]::new)), tool);
        run.thread.setDaemon(true);
        run.thread.start();
        return run;
    }

    /** Thrown by an exit, so that the tool's own thread ends there. */
    private static final class Ended extends Error {
        Ended() {
            super("exit", null, false, false);
        }
    }

    static final class Run {
        final String tool;
        private final ThreadGroup group;
        private final ByteArrayInputStream input;
        private final ByteArrayOutputStream output = new ByteArrayOutputStream();
        private final List<Runnable> hooks = new CopyOnWriteArrayList<>();
        private Thread thread;
        /** The first exit counts: after it a process would be gone. */
        private volatile Integer exited;
        private volatile boolean closing;

        private Run(String tool, String stdin) {
            this.tool = tool;
            group = new ThreadGroup(tool);
            input = new ByteArrayInputStream(stdin.getBytes(StandardCharsets.UTF_8));
        }

        private void play(String name, String[] args) {
            CURRENT.set(this);
            try {
                Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
                awaitOtherThreads();
                exit(0);
            } catch (InvocationTargetException thrown) {
                if (!(thrown.getCause() instanceof Ended) && exited == null) {
                    System.err.println("Exception in thread \"main\" " + thrown.getCause());
                }
                exit(1);
            } catch (ReflectiveOperationException gone) {
                System.err.println(gone);
                exit(1);
            }
            closing = true;
            runHooks();
        }

        /** A process ends with the last thread that is not a daemon. */
        private void awaitOtherThreads() {
            while (true) {
                Thread[] threads = new Thread[group.activeCount() + 8];
                int count = group.enumerate(threads);
                boolean alone = Arrays.stream(threads, 0, count)
                    .allMatch(other -> other == Thread.currentThread() || other.isDaemon());
                if (alone || exited != null) {
                    return;
                }
                LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(20));
            }
        }

        private void runHooks() {
            hooks.addAll(takeHooksOfTheProcess());
            for (Runnable hook : hooks) {
                if (hooks.remove(hook)) {
                    try {
                        hook.run();
                    } catch (RuntimeException | Error ignored) {
                        // The tool has ended anyway.
                    }
                }
            }
        }

        /** Some tools register their hooks with the JVM, which does not end here. */
        private List<Thread> takeHooksOfTheProcess() {
            try {
                Field field = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
                field.setAccessible(true); // with --add-opens java.base/java.lang=ALL-UNNAMED
                List<Thread> ours = new ArrayList<>();
                for (Object hook : List.copyOf(((Map<?, ?>) field.get(null)).keySet())) {
                    if (((Thread) hook).getThreadGroup() == group) {
                        ours.add((Thread) hook);
                        Runtime.getRuntime().removeShutdownHook((Thread) hook);
                    }
                }
                return ours;
            } catch (ReflectiveOperationException error) {
                throw new IllegalStateException(error);
            }
        }

        private synchronized void exit(int status) {
            if (exited == null) {
                exited = status;
            }
        }

        /** Between an exit and the hooks a process prints nothing. */
        private boolean over() {
            return exited != null && !closing;
        }

        /** Does the same as Ctrl-C. */
        void interrupt() {
            if (!thread.isAlive()) {
                return;
            }
            Thread hook = new Thread(() -> {
                CURRENT.set(this);
                runHooks();
            }, tool + "-hooks");
            hook.setDaemon(true);
            hook.start();
        }

        /** Interrupts the tool, and kills it if the hooks do not end it. */
        void end(long seconds) throws InterruptedException {
            interrupt();
            thread.join(TimeUnit.SECONDS.toMillis(seconds));
            if (thread.isAlive()) {
                closing = false;
                exit(0);
                group.interrupt();
            }
        }

        void await(long seconds) throws InterruptedException {
            thread.join(TimeUnit.SECONDS.toMillis(seconds));
            if (thread.isAlive()) {
                Throwable where = new Throwable();
                where.setStackTrace(thread.getStackTrace());
                where.printStackTrace(new PrintStream(output, true));
                thread.interrupt();
                throw new IllegalStateException(tool + " did not end; it said: " + said());
            }
        }

        void waitFor(String text, long seconds) throws InterruptedException {
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
            while (!said().contains(text)) {
                if (System.nanoTime() > end || !thread.isAlive()) {
                    throw new IllegalStateException(tool + " has not said " + text + " but: " + said());
                }
                Thread.sleep(20);
            }
        }

        String said() {
            return output.toString(StandardCharsets.UTF_8);
        }

        int status() {
            return exited == null ? -1 : exited;
        }
    }
}
