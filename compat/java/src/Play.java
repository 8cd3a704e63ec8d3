import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.ConsumerConfig;

/**
 * Plays the rows in its arguments, several at a time, and prints a line for each: "ok ROW", "FAIL ROW what
 * happened" or "none ROW why". BOOTSTRAP, PREFIX (of every name) and WORK are environment variables.
 */
public final class Play {
    private static final int AT_A_TIME = 8; // rows spend most of their time waiting

    private static final Map<String, Row> ROWS = new LinkedHashMap<>();

    /** One operation of compat/rows.tsv. */
    interface Row {
        void play(Client it) throws Exception;
    }

    static {
        ROWS.put("metadata", Topics::metadata);
        ROWS.put("topics", Topics::topics);
        ROWS.put("partitions", Topics::partitions);
        ROWS.put("codecs", Records::codecs);
        ROWS.put("values", Records::values);
        ROWS.put("large", Records::large);
        ROWS.put("fetch", Records::fetch);
        ROWS.put("range", Records::range);
        ROWS.put("group", Groups::group);
        ROWS.put("resume", Groups::resume);
        ROWS.put("static", Groups::staticMember);
        ROWS.put("cooperative", Groups::cooperative);
        ROWS.put("kip-848", Groups::kip848);
        ROWS.put("idempotent", Records::idempotent);
        ROWS.put("transactions", Transactions::transactions);
        ROWS.put("configs", Topics::configs);
        ROWS.put("delete-records", Topics::deleteRecords);
        ROWS.put("groups", Groups::groups);
        ROWS.put("acls", Topics::acls);
        ROWS.put("acls-enforced", Secured::acls);
        ROWS.put("sasl", Login::sasl);
        ROWS.put("tls", Secured::tls);
        ROWS.put("oauth", Secured::oauth);
        ROWS.put("restart-before", Restart::before);
        ROWS.put("restart-after", Restart::after);
    }

    private Play() {}

    public static void main(String[] rows) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(AT_A_TIME);
        for (String row : rows) {
            pool.execute(() -> play(row));
        }
        pool.shutdown();
        pool.awaitTermination(1, TimeUnit.HOURS); // the caller has its own limit
        System.out.flush();
        Runtime.getRuntime().halt(0); // a client that failed may have threads left
    }

    private static void play(String row) {
        String missing = missing(row);
        if (missing != null) {
            say("none " + row + " " + missing);
            return;
        }
        Row play = ROWS.get(row);
        if (play == null) {
            say("FAIL " + row + " not written yet");
            return;
        }
        long began = System.nanoTime();
        try (Client it = new Client(row)) {
            try {
                play.play(it);
                say("ok " + row);
            } catch (Throwable error) {
                error.printStackTrace();
                say("FAIL " + row + " " + error.toString().replaceAll("\\s+", " "));
            }
        }
        if (System.getenv("SLOW") != null) {
            System.err.println(row + ": " + (System.nanoTime() - began) / 1_000_000 + " ms");
        }
    }

    /** Why this version cannot play a row, or null. */
    private static String missing(String row) {
        return switch (row) {
            case "static" -> ConsumerConfig.configNames().contains("group.instance.id") ? null : "since 2.3";
            case "cooperative" -> cooperative() ? null : "since 2.4";
            case "kip-848" -> ConsumerConfig.configNames().contains("group.protocol") ? null : "since 3.7";
            default -> null;
        };
    }

    private static boolean cooperative() {
        try {
            Class.forName("org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
            return true;
        } catch (ClassNotFoundException missing) {
            return false;
        }
    }

    private static synchronized void say(String line) {
        System.out.println(line);
    }
}
