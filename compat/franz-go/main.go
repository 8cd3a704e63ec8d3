// The rows of the matrix with franz-go (kgo, and kadm for administration).
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"jackdaw/compat/rows"
)

type client struct{ admin *kadm.Client }

func main() {
	shared, err := kgo.NewClient(kgo.SeedBrokers(rows.Bootstrap), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		panic(err)
	}
	defer shared.Close()
	rows.Main(client{kadm.NewClient(shared)})
}

func (client) Lacks() map[string]string { return nil }

func (client) Codecs() []string { return rows.Codecs }

func (client) Code(err error) int16 {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return kafka.Code
	}
	return -2
}

func limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), rows.Limit)
	time.AfterFunc(rows.Limit, cancel)
	return ctx
}

func (c client) Metadata() (cluster rows.Cluster, err error) {
	metadata, err := c.admin.Metadata(limit())
	cluster.Brokers, cluster.Controller = metadata.Brokers.NodeIDs(), metadata.Controller
	cluster.Leaders = map[string][]int32{}
	for name, topic := range metadata.Topics {
		for _, partition := range topic.Partitions.Sorted() {
			cluster.Leaders[name] = append(cluster.Leaders[name], partition.Leader)
		}
	}
	return
}

func (c client) CreateTopic(topic string, partitions int, configs map[string]string) error {
	settings := map[string]*string{}
	for key, value := range configs {
		settings[key] = &value
	}
	_, err := c.admin.CreateTopic(limit(), int32(partitions), 1, settings, topic)
	return err
}

func (c client) DeleteTopic(topic string) error {
	_, err := c.admin.DeleteTopic(limit(), topic)
	return err
}

func (c client) AddPartitions(topic string, total int) error {
	answers, err := c.admin.UpdatePartitions(limit(), total, topic)
	if err != nil {
		return err
	}
	return answers[topic].Err
}

func at(how rows.Access) []kgo.Opt {
	options := []kgo.Opt{kgo.SeedBrokers(how.Server()), logIn(how)}
	// Without a file there is no TLS, and a file that cannot be read makes the handshake fail.
	if config, err := how.TLS(); config != nil || err != nil {
		options = append(options, kgo.DialTLSConfig(config))
	}
	return options
}

func logIn(how rows.Access) kgo.Opt {
	secret := scram.Auth{User: how.User, Pass: how.Password}
	switch how.Mechanism {
	case "PLAIN":
		return kgo.SASL(plain.Auth{User: how.User, Pass: how.Password}.AsMechanism())
	case "SCRAM-SHA-256":
		return kgo.SASL(secret.AsSha256Mechanism())
	case "SCRAM-SHA-512":
		return kgo.SASL(secret.AsSha512Mechanism())
	case "OAUTHBEARER":
		return kgo.SASL(oauth.Auth{Token: how.Token}.AsMechanism())
	}
	return kgo.SASL()
}

func (c client) Produce(topic string, how rows.Producing, records ...rows.Record) error {
	options := append(at(how.Access), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	if how.Codec != "" {
		options = append(options, kgo.ProducerBatchCompression(codecs[how.Codec]))
	}
	switch how.Acks {
	case rows.NoAcks:
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case rows.LeaderAcks:
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	if how.MaxBytes > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(int32(how.MaxBytes)))
	}
	if how.TransactionalID != "" {
		options = append(options, kgo.TransactionalID(how.TransactionalID))
	}
	if how.BatchRecords > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(1000), kgo.ProducerLinger(0))
	}
	producer, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer producer.Close()
	if how.TransactionalID != "" {
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
	}
	if err := producer.ProduceSync(limit(), kafkas(records)...).FirstErr(); err != nil {
		return err
	}
	if how.TransactionalID != "" {
		return producer.EndTransaction(limit(), kgo.TransactionEndTry(!how.Abort))
	}
	return nil
}

func kafkas(records []rows.Record) (out []*kgo.Record) {
	for _, record := range records {
		kafka := &kgo.Record{Partition: record.Partition, Key: record.Key, Value: record.Value, Timestamp: record.Time}
		for _, header := range record.Headers {
			kafka.Headers = append(kafka.Headers, kgo.RecordHeader(header))
		}
		out = append(out, kafka)
	}
	return
}

func ours(record *kgo.Record) rows.Record {
	out := rows.Record{Partition: record.Partition, Offset: record.Offset, Key: record.Key, Value: record.Value, Time: record.Timestamp}
	for _, header := range record.Headers {
		out.Headers = append(out.Headers, rows.Header(header))
	}
	return out
}

func (client) Read(topic string, what rows.Reading) (got []rows.Record, err error) {
	from := kgo.NewOffset().At(what.From)
	switch what.From {
	case rows.Start:
		from = kgo.NewOffset().AtStart()
	case rows.End:
		from = kgo.NewOffset().AtEnd()
	}
	options := append(at(what.Access), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: from}}))
	if what.Committed {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if what.Fails {
		options = append(options, kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	}
	if what.Reset {
		options = append(options, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	consumer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	// PollFetches does not return the error of a refused login: it tries again and again.
	if err := consumer.Ping(limit()); err != nil {
		return nil, err
	}
	for ctx := limit(); !what.Enough(got); {
		fetches := consumer.PollFetches(ctx)
		for _, failed := range fetches.Errors() {
			// With a reset it reports the loss of data and continues.
			if lost := (*kgo.ErrDataLoss)(nil); !what.Reset || !errors.As(failed.Err, &lost) {
				return got, failed.Err
			}
		}
		fetches.EachRecord(func(record *kgo.Record) { got = append(got, ours(record)) })
	}
	return got, nil
}

func (c client) OffsetAt(topic string, at int64) (int64, error) {
	list := map[int64]func(context.Context, ...string) (kadm.ListedOffsets, error){
		rows.Start: c.admin.ListStartOffsets, rows.End: c.admin.ListEndOffsets,
	}[at]
	if list == nil {
		list = func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return c.admin.ListOffsetsAfterMilli(ctx, at, topics...)
		}
	}
	offsets, err := list(limit(), topic)
	if err != nil {
		return 0, err
	}
	offset, _ := offsets.Lookup(topic, 0)
	return offset.Offset, offset.Err
}

func (client) Join(group, topic string, how rows.Joining) (*rows.Member, error) {
	member := rows.NewMember()
	took := func(add func(...int32)) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) { add(partitions[topic]...) }
	}
	options := append(at(how.Access),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.OnPartitionsAssigned(took(member.Assigned)), kgo.OnPartitionsRevoked(took(member.Revoked)), kgo.OnPartitionsLost(took(member.Revoked)),
	)
	switch {
	case how.NewProtocol:
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	case !how.Cooperative: // cooperative is the default
		options = append(options, kgo.Balancers(kgo.StickyBalancer()))
	}
	if how.Instance != "" {
		options = append(options, kgo.InstanceID(how.Instance))
	}
	consumer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			fetches := consumer.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			for _, failed := range fetches.Errors() {
				member.Failed(failed.Err)
			}
			fetches.EachRecord(func(record *kgo.Record) { member.Got(ours(record)) })
		}
	}()
	member.Commit = func(record rows.Record) error {
		return consumer.CommitRecords(limit(), &kgo.Record{Topic: topic, Partition: record.Partition, Offset: record.Offset, LeaderEpoch: -1})
	}
	member.Leave = func() error {
		end()
		<-ended
		consumer.Close()
		return nil
	}
	return member, nil
}

func (client) ReadProcessWrite(id, group, from, to string, records int, commit bool) error {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(rows.Bootstrap), kgo.TransactionalID(id), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(from), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.RequireStableFetchOffsets(),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.Begin(); err != nil {
		return err
	}
	for read := 0; read < records; {
		fetches := session.PollFetches(limit())
		if err := fetches.Err(); err != nil {
			return err
		}
		var out []*kgo.Record
		fetches.EachRecord(func(record *kgo.Record) { out = append(out, &kgo.Record{Topic: to, Value: record.Value}) })
		if err := session.ProduceSync(limit(), out...).FirstErr(); err != nil {
			return err
		}
		read += len(out)
	}
	committed, err := session.End(limit(), kgo.TransactionEndTry(commit))
	if err == nil && committed != commit {
		return fmt.Errorf("the transaction committed: %v, which was not asked for", committed)
	}
	return err
}

func (c client) Configs(topic string) (map[string]string, error) {
	described, err := c.admin.DescribeTopicConfigs(limit(), topic)
	if err != nil {
		return nil, err
	}
	found, err := described.On(topic, nil)
	if err == nil {
		err = found.Err
	}
	configs := map[string]string{}
	for _, config := range found.Configs {
		configs[config.Key] = config.MaybeValue()
	}
	return configs, err
}

func (c client) AlterConfigs(topic string, configs map[string]string) error {
	var alter []kadm.AlterConfig
	for key, value := range configs {
		alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
	}
	answers, err := c.admin.AlterTopicConfigs(limit(), alter, topic)
	if err != nil {
		return err
	}
	answer, err := answers.On(topic, nil)
	return errors.Join(err, answer.Err)
}

func (c client) DeleteRecords(topic string, before int64) error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, At: before})
	answers, err := c.admin.DeleteRecords(limit(), offsets)
	if err != nil {
		return err
	}
	return answers[topic][0].Err
}

func (c client) Groups() ([]string, error) {
	groups, err := c.admin.ListGroups(limit())
	return groups.Groups(), err
}

func (c client) DescribeGroup(group string) (string, int, error) {
	groups, err := c.admin.DescribeGroups(limit(), group)
	found := groups[group]
	return found.State, len(found.Members), errors.Join(err, found.Err)
}

func (c client) DeleteGroup(group string) error {
	_, err := c.admin.DeleteGroup(limit(), group)
	return err
}

func (c client) Committed(group, topic string) (int64, error) {
	offsets, err := c.admin.FetchOffsets(limit(), group)
	if err != nil {
		return 0, err
	}
	offset, found := offsets.Lookup(topic, 0)
	if !found {
		return -1, nil
	}
	return offset.At, offset.Err
}

func (c client) AlterOffset(group, topic string, offset int64) error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, At: offset, LeaderEpoch: -1})
	return c.admin.CommitAllOffsets(limit(), group, offsets)
}

func (client) Untrusted(err error) bool { return rows.OfCertificate(err) }

func builder(acl rows.ACL) *kadm.ACLBuilder {
	one := kadm.NewACLs().Operations(kadm.ACLOperation(acl.Operation)).ResourcePatternType(kadm.ACLPatternLiteral)
	if acl.Resource == rows.OfTopic {
		one.Topics(acl.Name)
	} else {
		one.Groups(acl.Name)
	}
	if acl.Permission == rows.Allow {
		return one.Allow(acl.Principal()).AllowHosts("*")
	}
	return one.Deny(acl.Principal()).DenyHosts("*")
}

func (c client) ACLs(topic string) (acls []rows.ACL, err error) {
	any := kadm.NewACLs().Topics(topic).Allow().AllowHosts().Deny().DenyHosts().Operations().ResourcePatternType(kadm.ACLPatternLiteral)
	answers, err := c.admin.DescribeACLs(limit(), any)
	for _, answer := range answers {
		err = errors.Join(err, answer.Err)
		for _, one := range answer.Described {
			acls = append(acls, rows.ACL{Resource: int8(one.Type), Name: one.Name, Operation: int8(one.Operation), Permission: int8(one.Permission)})
		}
	}
	return
}

func (c client) CreateACL(acl rows.ACL) error {
	answers, err := c.admin.CreateACLs(limit(), builder(acl))
	for _, answer := range answers {
		err = errors.Join(err, answer.Err)
	}
	return err
}

func (c client) DeleteACL(acl rows.ACL) (deleted int, err error) {
	answers, err := c.admin.DeleteACLs(limit(), builder(acl))
	for _, answer := range answers {
		deleted += len(answer.Deleted)
		err = errors.Join(err, answer.Err)
	}
	return
}
