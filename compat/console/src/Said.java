import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * The output of a tool, with a name in place of every value that changes from run to run. Only stack traces and
 * the width of columns are left out.
 */
final class Said {
    private static final long DAY_MS = 86_400_000;

    private record Rule(String tool, Pattern pattern, Function<MatchResult, String> name) {}

    private final List<Rule> rules = new ArrayList<>();

    Said(String bootstrap, String work, String data, String cluster) {
        String host = "(?:127\\.0\\.0\\.1|localhost|\\[::1\\])";

        for (String folder : data.isEmpty() ? new String[0] : data.split(",")) {
            named(folder, "<data>");
            named(folder.replaceAll("/topics$", ""), "<data>");
        }
        named(work, "<work>");
        named(cluster, "<cluster-id>");
        // The first broker has the name of a single one, the others have a number.
        String[] addresses = bootstrap.split(",");
        for (int i = 0; i < addresses.length; i++) {
            String port = addresses[i].substring(addresses[i].lastIndexOf(':') + 1);
            String number = i == 0 ? "" : "-" + (i + 1);
            all(host + ":" + port + "(?!\\d)", found -> "<bootstrap" + number + ">");
            all("(?<![\\d.])" + port + "(?![\\d.])", found -> "<port" + number + ">");
        }
        all("\\b" + host, found -> "<host>");
        all("(?<=TopicId: )[\\w-]{22}", found -> "<topic-id>");
        all("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", found -> "<uuid>");
        all("(?<!\\d)1\\d{12}(?!\\d)", found -> isNow(Long.parseLong(found.group())) ? "<now>" : found.group());
        all("\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d[:,]\\d{3}", found -> "<now>");

        // Rates and latencies.
        of("kafka-producer-perf-test", "[\\d.]+(?= records/sec| MB/sec| ms )", found -> "<measured>");
        of("kafka-consumer-perf-test", "^<now>, <now>, ([\\d.]+), [\\d.]+, (\\d+), .*",
            found -> "<now>, <now>, " + found.group(1) + " MB, " + found.group(2) + " records, <measured>");
        of("kafka-e2e-latency", "(?<=Avg latency: )[\\d.]+|(?<=th = )\\d+|(?<=\\d\\t)[\\d.]+", found -> "<measured>");
        // Values that each broker draws or counts by itself.
        of("kafka-consumer-groups", "(?<= )[\\w-]{22}(?= )", found -> "<member-id>");
        of("kafka-dump-log", "(?<=producerId: )\\d+", found -> "<producer-id>");
        of("kafka-dump-log", "(?<=crc: )\\d+", found -> "<crc>");
        // Kafka prints these in the order of a hash map.
        of("kafka-topics", "(?<=\tConfigs: ).+", found -> Arrays.stream(found.group().split(",(?=[a-z.]+=)"))
            .sorted().collect(Collectors.joining(",")));
        of("kafka-transactions", "performance-producer-[\\w-]{22}\\s+1\\s+\\d+\\s+",
            found -> "performance-producer-<random>\t1\t<producer-id>\t");
        // The producer ids that list, describe and describe-producers print.
        of("kafka-transactions", "^(held\\s+1|fenced\\s+1|1\\s+held)(\\s+)\\d+", found -> found.group(1) + found.group(2) + "<producer-id>");
        of("kafka-transactions", "^\\d+(\\s+\\d+\\s+-?\\d+\\s+)\\d+(?=\\s+<now>)", found -> "<producer-id>" + found.group(1) + "<sequence>");
        of("kafka-transactions", "(?<=\\s<now>)(\\s+)\\d+(?=\\s+held-0)", found -> found.group(1) + "<measured>");

        // The position of the metadata.
        of("kafka-features", "(?<=Epoch: )\\d+", found -> "<position>");
        of("kafka-metadata-quorum", "(?<=HighWatermark:)\\s*\\d+|(?<=LeaderEpoch:)\\s*\\d+", found -> " <position>");
        of("kafka-metadata-quorum", "(?<=\"directoryId\": \")[\\w-]{22}", found -> "<directory-id>");
        of("kafka-metadata-quorum", "^(\\d)\\s+([\\w-]{22})\\s+\\d+\\s+",
            found -> found.group(1) + "\t<directory-id>\t<position>\t");
        of("kafka-verifiable-producer", "(?<=\"avg_throughput\":)[\\d.]+", found -> "<measured>");
    }

    private void named(String value, String name) {
        all(Pattern.quote(value), found -> name);
    }

    private void all(String pattern, Function<MatchResult, String> name) {
        of(null, pattern, name);
    }

    private void of(String tool, String pattern, Function<MatchResult, String> name) {
        rules.add(new Rule(tool, Pattern.compile(pattern), name));
    }

    private static boolean isNow(long millis) {
        return Math.abs(System.currentTimeMillis() - millis) < DAY_MS;
    }

    List<String> of(String tool, String text) {
        List<String> lines = new ArrayList<>();
        for (String line : text.split("\n")) {
            line = line.stripTrailing();
            if (line.startsWith("\tat ") || line.matches("\t\\.\\.\\. \\d+ (more|common frames omitted)")) {
                continue;
            }
            for (Rule rule : rules) {
                if (rule.tool == null || rule.tool.equals(tool)) {
                    line = rule.pattern.matcher(line)
                        .replaceAll(found -> Matcher.quoteReplacement(rule.name.apply(found)));
                }
            }
            lines.add(line.replaceAll("(?<=\\S) {2,}", " "));
        }
        // No output is no line; empty lines at the end are ignored.
        while (!lines.isEmpty() && lines.get(lines.size() - 1).isEmpty()) {
            lines.remove(lines.size() - 1);
        }
        return lines;
    }

    /** The lines that only one side has, in order: "-" was expected, "+" was printed. */
    static List<String> difference(List<String> expected, List<String> heard) {
        int[][] common = new int[expected.size() + 1][heard.size() + 1];
        for (int i = expected.size() - 1; i >= 0; i--) {
            for (int j = heard.size() - 1; j >= 0; j--) {
                common[i][j] = expected.get(i).equals(heard.get(j))
                    ? common[i + 1][j + 1] + 1
                    : Math.max(common[i + 1][j], common[i][j + 1]);
            }
        }
        List<String> lines = new ArrayList<>();
        int i = 0;
        int j = 0;
        while (i < expected.size() || j < heard.size()) {
            if (i < expected.size() && j < heard.size() && expected.get(i).equals(heard.get(j))) {
                i++;
                j++;
            } else if (j == heard.size() || i < expected.size() && common[i + 1][j] >= common[i][j + 1]) {
                lines.add("- " + expected.get(i++));
            } else {
                lines.add("+ " + heard.get(j++));
            }
        }
        return lines;
    }
}
