import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.GroupType;

/**
 * Plays sessions with Kafka's command-line tools, all in this one process, and compares their output with the
 * output that they had with an Apache Kafka; or, with "record", writes the output into the sessions.
 *
 *   Console compare|record HOST:PORT WORK-FOLDER DATA-FOLDER SESSION…
 *
 * Session.java describes the format of a session, Said.java the parts of the output that are replaced by names.
 */
public final class Console {
    private static final long LIMIT_S = 90; // for one command; generous, for busy machines

    private static final long SLOW_MS = 2000; // worth a line where SLOW is set

    private final boolean recording;
    private final Said said;
    private final Words words;
    private final Path work;
    private final Admin admin;
    /** The API keys that the broker advertises; all are taken for advertised while recording. */
    private final Set<Integer> offered = new TreeSet<>();
    private final Map<String, Tool.Run> background = new LinkedHashMap<>();
    private final PrintStream out = System.out;

    private Console(boolean recording, String bootstrap, Path work, String data) throws Exception {
        this.recording = recording;
        this.work = work;
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        admin = Admin.create(properties);
        String cluster = admin.describeCluster().clusterId().get(LIMIT_S, TimeUnit.SECONDS);
        if (!data.isEmpty() && Files.isDirectory(Path.of(data, "topics"))) {
            data += "/topics"; // Kafka has the partitions in the directory itself, Jackdaw in this one
        }
        said = new Said(bootstrap, work.toString(), data, cluster);
        words = new Words(bootstrap, work.toString(), data, this::topicId);
        Path apis = work.resolve("apis");
        if (Files.exists(apis)) {
            for (String line : Files.readAllLines(apis)) {
                offered.add(Integer.parseInt(line.trim().split("\\s+")[0]));
            }
        }
    }

    public static void main(String[] args) throws Exception {
        boolean recording = args[0].equals("record");
        Tool.takeOver();
        Console console = new Console(recording, args[1], Path.of(args[2]), args[3]);
        for (int i = 4; i < args.length; i++) {
            console.play(Session.read(Path.of(args[i])));
        }
        console.out.flush();
        Runtime.getRuntime().halt(0); // also if a tool has left threads
    }

    private void play(Session session) throws Exception {
        clear();
        for (Session.Check check : session.checks) {
            String missing = recording ? null : missing(check);
            if (missing != null) {
                out.println("skip console: " + check.fact + " (" + missing + ")");
                rows(check, "skip", missing);
                continue;
            }
            List<String> wrong = new ArrayList<>();
            try {
                for (Session.Step step : check.steps) {
                    long began = System.nanoTime();
                    take(step, wrong);
                    long millis = (System.nanoTime() - began) / 1_000_000;
                    if (millis > SLOW_MS && System.getenv("SLOW") != null) {
                        out.println("     " + millis + " ms: " + step.text);
                    }
                    if (!wrong.isEmpty()) {
                        break; // results after a failure mean little
                    }
                }
            } catch (Exception error) {
                wrong.add(error.toString());
            }
            for (Tool.Run left : background.values()) {
                left.interrupt();
            }
            background.clear();
            out.println((wrong.isEmpty() ? "ok" : "FAIL") + " console: " + check.fact);
            rows(check, wrong.isEmpty() ? "ok" : "FAIL", wrong.isEmpty() ? "" : check.fact);
            wrong.stream().limit(60).forEach(line -> out.println("     | " + line));
        }
        if (recording) {
            session.write();
        }
    }

    /** Writes the verdict of a check to the file of rows, for each row of the matrix that it names. */
    private void rows(Session.Check check, String verdict, String reason) throws IOException {
        for (String row : check.rows) {
            Files.writeString(work.resolve("rows"), row + "\t" + verdict + "\t" + reason + "\n",
                StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        }
    }

    private String missing(Session.Check check) {
        for (Session.Need need : check.needs) {
            if (need.data()) {
                if (words.data.isEmpty()) {
                    return "the data directory is not known";
                }
            } else if (!offered.contains(need.key())) {
                return "not offered yet: " + need.name() + ", key " + need.key();
            }
        }
        return null;
    }

    private void take(Session.Step step, List<String> wrong) throws Exception {
        switch (step.kind) {
            case FILE -> Files.writeString(work.resolve(step.text), words.fill(String.join("\n", step.input)) + "\n");
            case START -> {
                String name = step.text.substring(0, step.text.indexOf(' '));
                Words.Command command = words.command(step.text.substring(name.length() + 1));
                background.put(name, Tool.start(command.tool(), command.args(), step.stdin()));
            }
            case UNTIL -> {
                String name = step.text.substring(0, step.text.indexOf(' '));
                running(name).waitFor(step.text.substring(name.length() + 1), LIMIT_S);
            }
            case STOP -> {
                Tool.Run run = running(step.text.split(" ")[0]);
                run.end(LIMIT_S / 10);
                Words.Command shape = words.command("kafka-stopped" + step.text.substring(step.text.split(" ")[0].length()));
                judge(step, heard(shape, run), 0, wrong);
            }
            case RUN -> {
                pauseWhileRecording(250);
                Words.Command command = words.command(step.text);
                Tool.Run run = Tool.start(command.tool(), command.args(), step.stdin());
                run.await(LIMIT_S);
                judge(step, heard(command, run), run.status(), wrong);
            }
            case ASK -> ask(step, wrong);
        }
    }

    /** Repeats the command until the answer is as expected, for changes that take a moment, such as a leaving member. */
    private void ask(Session.Step step, List<String> wrong) throws Exception {
        pauseWhileRecording(3000);
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S / 3);
        while (true) {
            Words.Command command = words.command(step.text);
            Tool.Run run = Tool.start(command.tool(), command.args(), step.stdin());
            run.await(LIMIT_S);
            List<String> now = new ArrayList<>();
            judge(step, heard(command, run), run.status(), now);
            if (now.isEmpty() || System.nanoTime() > end) {
                wrong.addAll(now);
                return;
            }
            Thread.sleep(200);
        }
    }

    private List<String> heard(Words.Command command, Tool.Run run) {
        return command.filter(said.of(run.tool, run.said()), offered, recording);
    }

    private void judge(Session.Step step, List<String> heard, int status, List<String> wrong) {
        if (recording) {
            step.said = heard;
            step.status = status;
            return;
        }
        boolean differs = step.here != null;
        List<String> expected = differs ? step.here : step.said;
        int expectedStatus = differs ? step.hereStatus : step.status;
        if (step.kind != Session.Kind.STOP) {
            expected = words.command(step.text).filterExpected(expected, offered);
        }
        if (differs && step.here.equals(step.said) && step.hereStatus == step.status) {
            wrong.add("a difference is written down where there is none: " + step.text);
        }
        if (!expected.equals(heard)) {
            wrong.add(step.text);
            wrong.addAll(Said.difference(expected, heard));
        }
        if (expectedStatus != status) {
            wrong.add(step.text);
            wrong.add("ended with " + status + ", not with " + expectedStatus);
        }
    }

    private Tool.Run running(String name) {
        return Objects.requireNonNull(background.get(name), () -> "nothing runs under the name " + name);
    }

    private String topicId(String topic) {
        try {
            var topics = admin.describeTopics(List.of(topic)).allTopicNames().get(LIMIT_S, TimeUnit.SECONDS);
            return topics.get(topic).topicId().toString();
        } catch (Exception error) {
            throw new IllegalStateException("the id of " + topic, error);
        }
    }

    /** Kafka shows some changes only after a moment. */
    private void pauseWhileRecording(long millis) throws InterruptedException {
        if (recording) {
            Thread.sleep(millis);
        }
    }

    /** Every session begins with an empty broker. */
    private void clear() throws Exception {
        for (var group : admin.listGroups().all().get(LIMIT_S, TimeUnit.SECONDS)) {
            List<String> id = List.of(group.groupId());
            boolean share = group.type().equals(Optional.of(GroupType.SHARE));
            var deleted = share ? admin.deleteShareGroups(id).all() : admin.deleteConsumerGroups(id).all();
            try {
                deleted.get(LIMIT_S, TimeUnit.SECONDS);
            } catch (ExecutionException gone) {
                // It still has a member, or it is gone already: the next session has other names.
            }
        }
        Set<String> topics = admin.listTopics().names().get(LIMIT_S, TimeUnit.SECONDS);
        admin.deleteTopics(topics).all().get(LIMIT_S, TimeUnit.SECONDS);
    }
}
