// Makes the *.batch files beside this file with Apache Kafka's own classes:
//   java -cp "DIRECTORY_WITH_KAFKA_CLIENTS_4.4_AND_ITS_DEPENDENCIES/*" Batches.java
// tests/record/codecs.rs has the same records.

import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.record.internal.*;

class Batches {
    public static void main(String[] args) throws Exception {
        write("gzip", Compression.gzip().build());
        write("snappy", Compression.snappy().build());
        write("lz4", Compression.lz4().build());
        write("zstd", Compression.zstd().build());
        write("zstd-level-22", Compression.zstd().level(22).build()); // names a window of 128 MiB
        write("commit", marker(ControlRecordType.COMMIT));
        write("abort", marker(ControlRecordType.ABORT));
    }

    static ByteBuffer marker(ControlRecordType type) {
        EndTransactionMarker marker = new EndTransactionMarker(type, 5);
        return MemoryRecords.withEndTransactionMarker(
            1234567L, 1700000000123L, 7, 4000000001L, (short) 32767, marker).buffer();
    }

    static void write(String name, Compression compression) throws Exception {
        write(name, MemoryRecords.withRecords(
            RecordBatch.MAGIC_VALUE_V2, 0L, compression, TimestampType.CREATE_TIME, records()).buffer());
    }

    static void write(String name, ByteBuffer batch) throws Exception {
        byte[] bytes = new byte[batch.remaining()];
        batch.get(bytes);
        Files.write(Path.of(name + ".batch"), bytes);
    }

    static SimpleRecord[] records() {
        List<SimpleRecord> records = new ArrayList<>();
        Header[] headers = {
            new RecordHeader("h", "1".getBytes()), new RecordHeader("h", (byte[]) null), new RecordHeader("", new byte[0])
        };
        records.add(new SimpleRecord(1000L, "k".getBytes(), "v".getBytes(), headers));
        records.add(new SimpleRecord(-1L, (byte[]) null, (byte[]) null));
        records.add(new SimpleRecord(999L, new byte[0], new byte[0]));
        for (int i = 0; i < 400; i++) {
            String value = "a value of record " + i + " and some more text";
            records.add(new SimpleRecord(2000L - i, ("key-" + i % 7).getBytes(), value.getBytes()));
        }
        records.add(new SimpleRecord(1500L, null, new byte[70000]));
        return records.toArray(new SimpleRecord[0]);
    }
}
