import java.util.List;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.Trigger;

/** Counts the words of a topic with Spark, and ends when it has handled all that was there at its start. */
public class Counts {
    public static void main(String[] args) throws Exception {
        SparkSession spark = SparkSession.builder()
            .master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "localhost")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .getOrCreate();
        switch (args[0]) {
            case "stream" -> stream(spark, args[1], args[2], args[3], args[4]);
            case "batch" -> batch(spark, args[1], args[2]);
            default -> throw new IllegalArgumentException(args[0]);
        }
        spark.stop();
    }

    /** A stream in micro batches, with its state and offsets in the checkpoint. Writes the counts that each has changed. */
    static void stream(SparkSession spark, String bootstrap, String from, String to, String checkpoint) throws Exception {
        Dataset<Row> words = spark.readStream().format("kafka")
            .option("kafka.bootstrap.servers", bootstrap)
            .option("subscribe", from)
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", 200)
            .load();
        count(words)
            .writeStream().format("kafka")
            .option("kafka.bootstrap.servers", bootstrap)
            .option("topic", to)
            .option("checkpointLocation", checkpoint)
            .outputMode("update")
            .trigger(Trigger.AvailableNow())
            .start()
            .awaitTermination();
    }

    /** A table of the topic as it is now. */
    static void batch(SparkSession spark, String bootstrap, String from) {
        Dataset<Row> words = spark.read().format("kafka")
            .option("kafka.bootstrap.servers", bootstrap)
            .option("subscribe", from)
            .load();
        List<Row> rows = count(words).orderBy("key").collectAsList();
        rows.forEach(row -> System.out.println(row.getString(0) + " " + row.getString(1)));
    }

    static Dataset<Row> count(Dataset<Row> words) {
        return words.selectExpr("CAST(value AS STRING) AS key").groupBy("key").count()
            .selectExpr("key", "CAST(count AS STRING) AS value");
    }
}
