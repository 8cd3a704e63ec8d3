import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A session with the tools, and their output with Apache Kafka. The lines of a file:
 *
 *   == FACT                 a check begins
 *   needs 37 CreatePartitions   the check is skipped if the broker does not advertise this API; "needs data": or if its files are not accessible
 *   row topics              the check is part of this row of the matrix
 *   $ kafka-topics --list   a command; see Words.java for names in braces and for filters after a bar
 *   ? kafka-topics --list   the same, repeated until it prints this
 *   & NAME kafka-…          a command that continues while others run
 *   until NAME TEXT         waits until it has printed TEXT
 *   stop NAME               interrupts it, as Ctrl-C does; it has printed:
 *   file NAME               writes {work}/NAME
 *   < TEXT                  a line of standard input, or of the file; \t is a tab
 *   | TEXT                  a line that Kafka's tool printed with Apache Kafka
 *   = 1                     the exit status; without such a line, 0
 *   here REASON             Jackdaw differs on purpose, for this reason; with it the tool prints:
 *   / TEXT                  this line
 *   # TEXT                  a remark
 */
final class Session {
    enum Kind { RUN, ASK, START, UNTIL, STOP, FILE }

    static final class Step {
        final Kind kind;
        final String text;
        final List<String> input = new ArrayList<>();
        List<String> said = new ArrayList<>();
        int status;
        String reason;
        List<String> here;
        int hereStatus;

        Step(Kind kind, String text) {
            this.kind = kind;
            this.text = text;
        }

        String stdin() {
            StringBuilder lines = new StringBuilder();
            input.forEach(line -> lines.append(line.replace("\\t", "\t")).append('\n'));
            return lines.toString();
        }
    }

    record Need(boolean data, int key, String name) {}

    static final class Check {
        final String fact;
        final List<Need> needs = new ArrayList<>();
        final List<String> rows = new ArrayList<>();
        final List<Step> steps = new ArrayList<>();

        Check(String fact) {
            this.fact = fact;
        }
    }

    final List<Check> checks = new ArrayList<>();
    private final Path path;
    /** The content that is written back: unchanged lines, and steps. */
    private final List<Object> items = new ArrayList<>();

    private Session(Path path) {
        this.path = path;
    }

    static Session read(Path path) throws IOException {
        Session session = new Session(path);
        int number = 0;
        for (String line : Files.readAllLines(path)) {
            number++;
            try {
                session.line(line);
            } catch (RuntimeException error) {
                throw new IOException(path + " line " + number + ": " + error, error);
            }
        }
        return session;
    }

    private void line(String line) {
        String[] halves = line.split(" ", 2);
        String rest = halves.length > 1 ? halves[1] : "";
        switch (halves[0]) {
            case "", "#" -> items.add(line);
            case "==" -> {
                checks.add(new Check(rest));
                items.add(line);
            }
            case "needs" -> {
                check().needs.add(need(rest));
                items.add(line);
            }
            case "row" -> {
                check().rows.add(rest);
                items.add(line);
            }
            case "$" -> step(Kind.RUN, rest);
            case "?" -> step(Kind.ASK, rest);
            case "&" -> step(Kind.START, rest);
            case "until" -> step(Kind.UNTIL, rest);
            case "stop" -> step(Kind.STOP, rest);
            case "file" -> step(Kind.FILE, rest);
            case "<" -> last().input.add(rest);
            case "|" -> last().said.add(rest);
            case "/" -> last().here.add(rest);
            case "here" -> {
                last().reason = rest;
                last().here = new ArrayList<>();
            }
            case "=" -> {
                if (last().here == null) {
                    last().status = Integer.parseInt(rest);
                } else {
                    last().hereStatus = Integer.parseInt(rest);
                }
            }
            default -> throw new IllegalArgumentException("what is " + halves[0] + "?");
        }
    }

    private static Need need(String rest) {
        if (rest.equals("data")) {
            return new Need(true, -1, rest);
        }
        String[] words = rest.split(" ");
        return new Need(false, Integer.parseInt(words[0]), words[1]);
    }

    private void step(Kind kind, String text) {
        Step step = new Step(kind, text);
        check().steps.add(step);
        items.add(step);
    }

    private Check check() {
        return checks.get(checks.size() - 1);
    }

    private Step last() {
        return check().steps.get(check().steps.size() - 1);
    }

    /** Writes the file again, with the output of this run. */
    void write() throws IOException {
        List<String> lines = new ArrayList<>();
        for (Object item : items) {
            if (item instanceof Step step) {
                lines.add(sign(step.kind) + " " + step.text);
                step.input.forEach(line -> lines.add(("< " + line).stripTrailing()));
                step.said.forEach(line -> lines.add(("| " + line).stripTrailing()));
                if (step.status != 0) {
                    lines.add("= " + step.status);
                }
                if (step.here != null) {
                    lines.add("here " + step.reason);
                    step.here.forEach(line -> lines.add(("/ " + line).stripTrailing()));
                    if (step.hereStatus != 0) {
                        lines.add("= " + step.hereStatus);
                    }
                }
            } else {
                lines.add((String) item);
            }
        }
        Files.write(path, lines);
    }

    private static String sign(Kind kind) {
        return switch (kind) {
            case RUN -> "$";
            case ASK -> "?";
            case START -> "&";
            case UNTIL -> "until";
            case STOP -> "stop";
            case FILE -> "file";
        };
    }
}
