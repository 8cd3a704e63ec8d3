import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.MetricsReporter;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.server.telemetry.ClientTelemetry;
import org.apache.kafka.server.telemetry.ClientTelemetryPayload;
import org.apache.kafka.server.telemetry.ClientTelemetryReceiver;

/** A plugin with which Kafka serves GetTelemetrySubscriptions and PushTelemetry. It fails if the metrics are no OTLP. */
@SuppressWarnings("removal")
public class Receiver implements MetricsReporter, ClientTelemetry, ClientTelemetryReceiver {
    @Override public void init(List<KafkaMetric> metrics) { }
    @Override public void metricChange(KafkaMetric metric) { }
    @Override public void metricRemoval(KafkaMetric metric) { }
    @Override public void close() { }
    @Override public void configure(Map<String, ?> settings) { }

    @Override public ClientTelemetryReceiver clientReceiver() {
        return this;
    }

    @Override public void exportMetrics(AuthorizableRequestContext context, ClientTelemetryPayload payload) {
        ByteBuffer metrics = payload.data();
        if (metrics.hasRemaining() && metrics.get(metrics.position()) != 10) {
            throw new IllegalArgumentException("no field 1 of MetricsData");
        }
    }
}
