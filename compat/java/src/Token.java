import java.util.List;
import java.util.Map;
import java.util.Set;

import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;

import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerTokenCallback;

/** Gives Kafka's login module for OAUTHBEARER the token in its option `token`. */
public final class Token implements AuthenticateCallbackHandler {
    private String token;

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> modules) {
        token = (String) modules.get(0).getOptions().get("token");
    }

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (!(callback instanceof OAuthBearerTokenCallback)) {
                throw new UnsupportedCallbackException(callback);
            }
            ((OAuthBearerTokenCallback) callback).token(new Fixed(token));
        }
    }

    @Override
    public void close() {}

    /** A token whose claims only the broker reads. The client wants to know when to ask for the next one. */
    private static final class Fixed implements OAuthBearerToken {
        private static final long HOUR = 3_600_000;
        private final String text;
        private final long now = System.currentTimeMillis();

        Fixed(String text) {
            this.text = text;
        }

        @Override
        public String value() {
            return text;
        }

        @Override
        public Set<String> scope() {
            return Set.of();
        }

        @Override
        public long lifetimeMs() {
            return now + HOUR;
        }

        @Override
        public String principalName() {
            return System.getenv("SASL_USER");
        }

        @Override
        public Long startTimeMs() {
            return now;
        }
    }
}
