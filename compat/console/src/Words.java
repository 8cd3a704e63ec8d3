import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A parsed command line of a session. {bootstrap}, {work}, {data}, {id of TOPIC} and {env NAME} are replaced by the
 * broker's address, a folder for files, the folder of the broker's log files, the topic's id and a variable of the
 * environment. The broker's address is the first argument of a tool unless its line has one. Filters after a bar:
 *
 *   … | sorted              the lines in alphabetical order, if Kafka has no order
 *   … | only TEXT…          the lines with one of these texts
 *   … | without TEXT…       the lines with none of them
 *   … | unique              each line once
 *   … | last                the last line
 *   … | offered             the lines of API keys that the broker advertises
 */
final class Words {
    private static final Pattern WORD = Pattern.compile("(?:[^\\s'\"]|'[^']*'|\"[^\"]*\")+");
    private static final Pattern KEY = Pattern.compile("^\\s*\\w+\\((\\d+)\\): ");

    private static final Pattern TOPIC_ID = Pattern.compile("\\{id of ([\\w.-]+)\\}");

    private static final Pattern VARIABLE = Pattern.compile("\\{env (\\w+)\\}");

    private final String bootstrap;
    private final String work;
    final String data;
    private final UnaryOperator<String> topicId;

    Words(String bootstrap, String work, String data, UnaryOperator<String> topicId) {
        this.topicId = topicId;
        this.bootstrap = bootstrap;
        this.work = work;
        this.data = data;
    }

    String fill(String text) {
        text = TOPIC_ID.matcher(text).replaceAll(found -> Matcher.quoteReplacement(topicId.apply(found.group(1))));
        text = VARIABLE.matcher(text).replaceAll(found -> Matcher.quoteReplacement(System.getenv(found.group(1))));
        return text.replace("{bootstrap}", bootstrap).replace("{work}", work).replace("{data}", data);
    }

    Command command(String line) {
        List<String> words = new ArrayList<>();
        List<List<String>> filters = new ArrayList<>();
        Matcher matcher = WORD.matcher(fill(line));
        while (matcher.find()) {
            String word = matcher.group();
            if (word.equals("|")) {
                filters.add(new ArrayList<>());
                continue;
            }
            word = word.replaceAll("'([^']*)'|\"([^\"]*)\"", "$1$2");
            (filters.isEmpty() ? words : filters.get(filters.size() - 1)).add(word);
        }
        String tool = words.remove(0);
        if (Tool.asksABroker(tool) && !line.contains("{bootstrap}") && !line.contains("--bootstrap-server")) {
            words.addAll(0, List.of("--bootstrap-server", bootstrap));
        }
        return new Command(tool, words, filters);
    }

    record Command(String tool, List<String> args, List<List<String>> filters) {
        List<String> filter(List<String> lines, Set<Integer> offered, boolean recording) {
            for (List<String> filter : filters) {
                List<String> texts = filter.subList(1, filter.size());
                lines = switch (filter.get(0)) {
                    case "sorted" -> lines.stream().sorted(Comparator.naturalOrder()).toList();
                    case "unique" -> lines.stream().distinct().toList();
                    case "only" -> lines.stream().filter(line -> texts.stream().anyMatch(line::contains)).toList();
                    case "without" -> lines.stream().filter(line -> texts.stream().noneMatch(line::contains)).toList();
                    case "last" -> lines.subList(Math.max(0, lines.size() - 1), lines.size());
                    case "offered" -> recording ? lines : onlyOffered(lines, offered);
                    default -> throw new IllegalArgumentException("what is the filter " + filter + "?");
                };
            }
            return lines;
        }

        /** Recorded output is filtered already, except for filters that depend on the broker. */
        List<String> filterExpected(List<String> lines, Set<Integer> offered) {
            boolean depends = filters.stream().anyMatch(filter -> filter.get(0).equals("offered"));
            return depends ? onlyOffered(lines, offered) : lines;
        }

        private static List<String> onlyOffered(List<String> lines, Set<Integer> offered) {
            return lines.stream().filter(line -> {
                Matcher key = KEY.matcher(line);
                return !key.find() || offered.contains(Integer.parseInt(key.group(1)));
            }).toList();
        }
    }
}
