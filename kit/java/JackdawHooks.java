import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The test hooks of Jackdaw, for tests of applications. Java 11 or newer; nothing else is needed.
 *
 * <pre>
 * jackdaw --ephemeral --http localhost:8080 --test-hooks
 *
 * var hooks = new JackdawHooks("http://localhost:8080");
 * hooks.inject(JackdawHooks.fault("Produce").client("shop").times(2).error("NOT_LEADER_OR_FOLLOWER"));
 * </pre>
 *
 * docs/testing.md describes every hook.
 */
public final class JackdawHooks {
    /** The longest wait of one call; a longer wait is several calls. */
    private static final Duration LONGEST = Duration.ofSeconds(50);
    private static final int TIMED_OUT = 408;

    private final String url;
    private final String token;

    /** The hooks of a broker on this machine. */
    public JackdawHooks(String url) {
        this(url, null);
    }

    /** The hooks of the broker whose HTTP server has this address. Elsewhere than on localhost it asks for a token. */
    public JackdawHooks(String url, String token) {
        this.url = url.replaceAll("/+$", "") + "/hooks/";
        this.token = token;
    }

    /** A fault for the next request of an API, by its name in Kafka. */
    public static Fault fault(String api) {
        return new Fault(api);
    }

    /** What happens to the next requests. Without {@link #client} and {@link #broker} it is for all of them. */
    public static final class Fault {
        private final Map<String, Object> fields = new LinkedHashMap<>();

        private Fault(String api) {
            fields.put("api", api);
        }

        private Fault with(String name, Object value) {
            fields.put(name, value);
            return this;
        }

        public Fault client(String clientId) {
            return with("client", clientId);
        }

        public Fault broker(int id) {
            return with("broker", id);
        }

        public Fault times(int times) {
            return with("times", times);
        }

        /** The requests fail with this error of Kafka, and change nothing. */
        public Fault error(String name) {
            return with("error", name);
        }

        /** The requests wait before they are handled. */
        public Fault delay(Duration delay) {
            return with("delay_ms", delay.toMillis());
        }

        /** The requests are handled at once, and answered later. */
        public Fault answerDelay(Duration delay) {
            return with("answer_delay_ms", delay.toMillis());
        }

        /** The connection is closed: before-request, before-answer or after-answer. */
        public Fault cut(String at) {
            return with("cut", at);
        }
    }

    /** A hook was refused. The message says why. */
    public static final class HookException extends RuntimeException {
        private static final long serialVersionUID = 1;

        public final int status;

        private HookException(int status, String why) {
            super(why);
            this.status = status;
        }

        /** Whether the deadline of a wait has passed. */
        public boolean isTimeout() {
            return status == TIMED_OUT;
        }
    }

    /** Adds a fault, and returns its number. */
    public long inject(Fault fault) {
        return number("fault", call("POST", "faults", fault.fields));
    }

    /** The faults that are not used up, as JSON. */
    public String faults() {
        return call("GET", "faults", null);
    }

    /** Removes a fault. False if it is used up already. */
    public boolean removeFault(long fault) {
        return call("DELETE", "faults/" + fault, null).contains("true");
    }

    public void removeAllFaults() {
        call("DELETE", "faults", null);
    }

    /** Waits until a fault has met all of its requests. */
    public void waitForFault(long fault, Duration timeout) {
        await("wait/fault", Map.of("fault", fault), timeout);
    }

    /** Makes all members of a group join again. */
    public void rebalance(String group) {
        call("POST", "rebalance", Map.of("group", group));
    }

    /** Ends the session of a member, by its member id, group.instance.id or client id. */
    public void expireSession(String group, String member) {
        call("POST", "expire-session", Map.of("group", group, "member", member));
    }

    /** Fences the producer of a transactional id, as another one that starts with the same id does. */
    public void fenceProducer(String transactionalId) {
        call("POST", "fence-producer", Map.of("transactional_id", transactionalId));
    }

    /** Aborts the open transaction of a transactional id, as its timeout does. */
    public void abortTransaction(String transactionalId) {
        call("POST", "abort-transaction", Map.of("transactional_id", transactionalId));
    }

    /** Stops a virtual broker, also the only one. These hooks stay reachable. */
    public void stopBroker(int broker) {
        call("POST", "stop-broker", Map.of("broker", broker));
    }

    /** Starts a virtual broker that was stopped, at its old addresses. */
    public void startBroker(int broker) {
        call("POST", "start-broker", Map.of("broker", broker));
    }

    /** Makes a running virtual broker the leader of a partition. */
    public void moveLeader(String topic, int partition, int broker) {
        call("POST", "move-leader", Map.of("topic", topic, "partition", partition, "broker", broker));
    }

    /** Refuses records as on a full disk. Nothing is written. */
    public void fillDisk() {
        call("POST", "fill-disk", Map.of());
    }

    public void freeDisk() {
        call("POST", "free-disk", Map.of());
    }

    /** Turns the broker's clock forward, and ends what is overdue then. */
    public void turnClock(Duration by) {
        call("POST", "turn-clock", Map.of("by_ms", by.toMillis()));
    }

    /** Waits until a topic has at least this many records, and returns their number. */
    public long waitForRecords(String topic, long records, Duration timeout) {
        return number("records", await("wait/records", Map.of("topic", topic, "records", records), timeout));
    }

    /** Waits until a group is stable and has this many members. */
    public void waitForGroup(String group, int members, Duration timeout) {
        await("wait/group", Map.of("group", group, "members", members), timeout);
    }

    /** Waits until a group is in a state, with any number of members. */
    public void waitForGroup(String group, String state, Duration timeout) {
        await("wait/group", Map.of("group", group, "state", state), timeout);
    }

    /** Waits until a group has committed the end of a topic. */
    public void waitForNoLag(String group, String topic, Duration timeout) {
        await("wait/no-lag", Map.of("group", group, "topic", topic), timeout);
    }

    /** Waits until a group has committed the end of all topics that it has committed offsets of. */
    public void waitForNoLag(String group, Duration timeout) {
        await("wait/no-lag", Map.of("group", group), timeout);
    }

    private String await(String path, Map<String, Object> what, Duration timeout) {
        long end = System.nanoTime() + timeout.toNanos();
        while (true) {
            Duration left = Duration.ofNanos(Math.max(0, end - System.nanoTime()));
            boolean isLast = left.compareTo(LONGEST) <= 0;
            var body = new LinkedHashMap<>(what);
            body.put("timeout_ms", (isLast ? left : LONGEST).toMillis());
            try {
                return call("POST", path, body);
            } catch (HookException error) {
                if (isLast || !error.isTimeout()) {
                    throw error;
                }
            }
        }
    }

    private String call(String method, String path, Map<String, Object> body) {
        try {
            // The properties for proxies do not count: the broker is close.
            var call = (HttpURLConnection) URI.create(url + path).toURL().openConnection(Proxy.NO_PROXY);
            call.setRequestMethod(method);
            call.setReadTimeout((int) LONGEST.plusSeconds(10).toMillis());
            call.setRequestProperty("Content-Type", "application/json");
            // The broker ends each connection after a minute, so a long wait needs its own.
            call.setRequestProperty("Connection", "close");
            if (token != null) {
                call.setRequestProperty("Authorization", "Bearer " + token);
            }
            if (body != null) {
                call.setDoOutput(true);
                try (var out = call.getOutputStream()) {
                    out.write(json(body).getBytes(StandardCharsets.UTF_8));
                }
            }
            return answer(call);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static String answer(HttpURLConnection call) throws IOException {
        int status = call.getResponseCode();
        try (var in = status < 400 ? call.getInputStream() : call.getErrorStream()) {
            String body = in == null ? "" : new String(in.readAllBytes(), StandardCharsets.UTF_8);
            if (status != 200) {
                throw new HookException(status, reason(body));
            }
            return body;
        }
    }

    /** The only JSON that the hooks ask for: text and whole numbers. */
    private static String json(Map<String, Object> fields) {
        var text = new StringBuilder("{");
        fields.forEach((name, value) -> {
            text.append(text.length() > 1 ? "," : "").append(quoted(name)).append(':');
            text.append(value instanceof Number ? value.toString() : quoted(value.toString()));
        });
        return text.append('}').toString();
    }

    private static String quoted(String value) {
        var text = new StringBuilder("\"");
        for (char letter : value.toCharArray()) {
            if (letter == '"' || letter == '\\') {
                text.append('\\').append(letter);
            } else if (letter < ' ') {
                text.append(String.format("\\u%04x", (int) letter));
            } else {
                text.append(letter);
            }
        }
        return text.append('"').toString();
    }

    private static long number(String name, String json) {
        Matcher found = Pattern.compile(quoted(name) + "\\s*:\\s*(\\d+)").matcher(json);
        if (!found.find()) {
            throw new HookException(200, "no " + name + " in " + json);
        }
        return Long.parseLong(found.group(1));
    }

    /** The text of an error; whole, if the answer is that of a broker without test hooks. */
    private static String reason(String body) {
        Matcher found = Pattern.compile("\"error\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(body);
        return found.find() ? found.group(1).replaceAll("\\\\(.)", "$1") : body.strip();
    }
}
