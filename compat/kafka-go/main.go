// The rows of the matrix with segmentio/kafka-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"jackdaw/compat/rows"
)

type client struct{ *kafka.Client }

// kafka-go caches the metadata of topics; with so short a lifetime the cache has no effect.
var transport = &kafka.Transport{MetadataTTL: 50 * time.Millisecond}

func main() {
	rows.Main(client{&kafka.Client{Addr: kafka.TCP(rows.Bootstrap), Timeout: rows.Limit, Transport: transport}})
}

func (client) Lacks() map[string]string {
	return map[string]string{
		"static": "no group.instance.id", "cooperative": "no such balancer", "kip-848": "no such consumer",
		"idempotent": "no producer ids in its writer", "transactions": "no producer ids in its writer",
		"delete-records": "no such request",
	}
}

func (client) Code(err error) int16 {
	if several := (kafka.WriteErrors)(nil); errors.As(err, &several) {
		err = errors.Join(several...)
	}
	if code := kafka.Error(0); errors.As(err, &code) {
		return int16(code)
	}
	return -2
}

func (client) Codecs() []string { return rows.Codecs }

func (client) ReadsEmptyAsNull() {}

func (client) ListsAllTopics() {}

func limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), rows.Limit)
	time.AfterFunc(rows.Limit, cancel)
	return ctx
}

func (c client) Metadata() (cluster rows.Cluster, err error) {
	metadata, err := c.Client.Metadata(limit(), &kafka.MetadataRequest{})
	if err != nil {
		return
	}
	for _, broker := range metadata.Brokers {
		cluster.Brokers = append(cluster.Brokers, int32(broker.ID))
	}
	cluster.Controller, cluster.Leaders = int32(metadata.Controller.ID), map[string][]int32{}
	for _, topic := range metadata.Topics {
		for _, partition := range topic.Partitions {
			cluster.Leaders[topic.Name] = append(cluster.Leaders[topic.Name], int32(partition.Leader.ID))
		}
	}
	return
}

func (c client) CreateTopic(topic string, partitions int, configs map[string]string) error {
	asked := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}
	for key, value := range configs {
		asked.ConfigEntries = append(asked.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
	}
	answer, err := c.CreateTopics(limit(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{asked}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (c client) DeleteTopic(topic string) error {
	answer, err := c.DeleteTopics(limit(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (c client) AddPartitions(topic string, total int) error {
	answer, err := c.CreatePartitions(limit(), &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(total)}},
	})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func mechanism(how rows.Access) (sasl.Mechanism, error) {
	switch how.Mechanism {
	case "PLAIN":
		return plain.Mechanism{Username: how.User, Password: how.Password}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, how.User, how.Password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, how.User, how.Password)
	}
	return nil, nil
}

func dialer(how rows.Access) (*kafka.Dialer, error) {
	login, err := mechanism(how)
	if err != nil {
		return nil, err
	}
	config, err := how.TLS()
	return &kafka.Dialer{Timeout: rows.Limit, SASLMechanism: login, TLS: config}, err
}

func (client) Produce(topic string, how rows.Producing, records ...rows.Record) error {
	codecs := map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	acks := map[int]kafka.RequiredAcks{0: kafka.RequireAll, rows.LeaderAcks: kafka.RequireOne, rows.NoAcks: kafka.RequireNone}
	through := transport
	if how.Access != (rows.Access{}) {
		from, err := dialer(how.Access)
		if err != nil {
			return err
		}
		through = &kafka.Transport{SASL: from.SASLMechanism, TLS: from.TLS}
		defer through.CloseIdleConnections()
	}
	writer := &kafka.Writer{
		Addr: kafka.TCP(how.Access.Server()), Topic: topic, Transport: through, BatchTimeout: 10 * time.Millisecond,
		Compression: codecs[how.Codec], RequiredAcks: acks[how.Acks], BatchBytes: int64(how.MaxBytes),
		Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int { return message.WriterData.(int) }),
	}
	defer writer.Close()
	var messages []kafka.Message
	for _, record := range records {
		message := kafka.Message{Key: record.Key, Value: record.Value, Time: record.Time, WriterData: int(record.Partition)}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, kafka.Header(header))
		}
		messages = append(messages, message)
	}
	return writer.WriteMessages(limit(), messages...)
}

func ours(message kafka.Message) rows.Record {
	record := rows.Record{
		Partition: int32(message.Partition), Offset: message.Offset, Key: message.Key, Value: message.Value, Time: message.Time,
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, rows.Header(header))
	}
	return record
}

func reader(server string, dialer *kafka.Dialer, topic string, partition int) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{server}, Dialer: dialer, Topic: topic, Partition: partition,
		MaxBytes: 10_000_000, MaxWait: 500 * time.Millisecond, OffsetOutOfRangeError: true,
	})
}

func (client) Read(topic string, what rows.Reading) (got []rows.Record, err error) {
	through, err := dialer(what.Access)
	if err != nil {
		return nil, err
	}
	from := reader(what.Access.Server(), through, topic, 0)
	defer from.Close()
	if err := from.SetOffset(what.From); err != nil { // kafka-go uses the same numbers for Start and End
		return nil, err
	}
	for ctx := limit(); !what.Enough(got); {
		message, err := from.ReadMessage(ctx)
		if errors.Is(err, kafka.OffsetOutOfRange) && what.Reset { // as its users do
			if err := from.SetOffset(kafka.FirstOffset); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return got, err
		}
		got = append(got, ours(message))
	}
	return got, nil
}

func (c client) OffsetAt(topic string, at int64) (int64, error) {
	answer, err := c.ListOffsets(limit(), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {{Partition: 0, Timestamp: at}}},
	})
	if err != nil {
		return 0, err
	}
	found := answer.Topics[topic][0]
	switch at {
	case rows.Start:
		return found.FirstOffset, found.Error
	case rows.End:
		return found.LastOffset, found.Error
	}
	for offset := range found.Offsets {
		return offset, found.Error
	}
	return 0, fmt.Errorf("no offset: %w", found.Error)
}

func (client) Join(group, topic string, how rows.Joining) (*rows.Member, error) {
	through, err := dialer(how.Access)
	if err != nil {
		return nil, err
	}
	consumer, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: []string{how.Access.Server()}, Dialer: through, Topics: []string{topic},
		HeartbeatInterval: 200 * time.Millisecond, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return nil, err
	}
	member := rows.NewMember()
	commits := make(chan func(*kafka.Generation))
	go func() {
		for {
			generation, err := consumer.Next(context.Background())
			if err != nil {
				if !errors.Is(err, kafka.ErrGroupClosed) {
					member.Failed(err)
				}
				return
			}
			read := func(partition int) *kafka.Reader { return reader(how.Access.Server(), through, topic, partition) }
			follow(member, generation, topic, read, commits)
		}
	}()
	member.Commit = func(record rows.Record) error {
		done := make(chan error)
		commits <- func(generation *kafka.Generation) {
			done <- generation.CommitOffsets(map[string]map[int]int64{topic: {int(record.Partition): record.Offset + 1}})
		}
		return <-done
	}
	member.Leave = consumer.Close
	return member, nil
}

// follow reads the partitions of a generation until it ends. It then closes the readers, before the next one begins.
func follow(member *rows.Member, generation *kafka.Generation, topic string, reader func(int) *kafka.Reader, commits chan func(*kafka.Generation)) {
	var partitions []int32
	for _, assigned := range generation.Assignments[topic] {
		partitions = append(partitions, int32(assigned.ID))
		generation.Start(func(ctx context.Context) {
			from := reader(assigned.ID)
			defer from.Close()
			err := from.SetOffset(assigned.Offset)
			for err == nil {
				var message kafka.Message
				if message, err = from.ReadMessage(ctx); err == nil {
					member.Got(ours(message))
				}
			}
			if ctx.Err() == nil && !errors.Is(err, kafka.ErrGenerationEnded) {
				member.Failed(err)
			}
		})
	}
	member.Assigned(partitions...)
	generation.Start(func(ctx context.Context) {
		for {
			select {
			case commit := <-commits:
				commit(generation)
			case <-ctx.Done():
				member.Revoked(partitions...)
				return
			}
		}
	})
}

func (client) ReadProcessWrite(string, string, string, string, int, bool) error {
	return errors.ErrUnsupported
}

func (c client) Configs(topic string) (map[string]string, error) {
	answer, err := c.DescribeConfigs(limit(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, entry := range answer.Resources[0].ConfigEntries {
		configs[entry.ConfigName] = entry.ConfigValue
	}
	return configs, answer.Resources[0].Error
}

func (c client) AlterConfigs(topic string, configs map[string]string) error {
	resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}
	for key, value := range configs {
		resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{
			Name: key, Value: value, ConfigOperation: kafka.ConfigOperationSet,
		})
	}
	answer, err := c.IncrementalAlterConfigs(limit(), &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
	})
	if err != nil {
		return err
	}
	return answer.Resources[0].Error
}

func (client) DeleteRecords(string, int64) error { return errors.ErrUnsupported }

func (c client) Groups() (groups []string, err error) {
	answer, err := c.ListGroups(limit(), &kafka.ListGroupsRequest{})
	if err != nil {
		return nil, err
	}
	for _, group := range answer.Groups {
		groups = append(groups, group.GroupID)
	}
	return groups, answer.Error
}

func (c client) DescribeGroup(group string) (string, int, error) {
	answer, err := c.DescribeGroups(limit(), &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return "", 0, err
	}
	return answer.Groups[0].GroupState, len(answer.Groups[0].Members), answer.Groups[0].Error
}

func (c client) DeleteGroup(group string) error {
	answer, err := c.DeleteGroups(limit(), &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return err
	}
	return answer.Errors[group]
}

func (c client) Committed(group, topic string) (int64, error) {
	answer, err := c.OffsetFetch(limit(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	if err != nil {
		return 0, err
	}
	return answer.Topics[topic][0].CommittedOffset, errors.Join(answer.Error, answer.Topics[topic][0].Error)
}

func (c client) AlterOffset(group, topic string, offset int64) error {
	answer, err := c.OffsetCommit(limit(), &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: offset}}},
	})
	if err != nil {
		return err
	}
	return answer.Topics[topic][0].Error
}

func (client) Untrusted(err error) bool { return rows.OfCertificate(err) }

func (c client) ACLs(topic string) (acls []rows.ACL, err error) {
	answer, err := c.DescribeACLs(limit(), &kafka.DescribeACLsRequest{Filter: kafka.ACLFilter{
		ResourceTypeFilter: kafka.ResourceTypeTopic, ResourceNameFilter: topic, ResourcePatternTypeFilter: kafka.PatternTypeLiteral,
		Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny,
	}})
	if err != nil {
		return nil, err
	}
	for _, resource := range answer.Resources {
		for _, one := range resource.ACLs {
			acls = append(acls, rows.ACL{
				Resource: int8(resource.ResourceType), Name: resource.ResourceName,
				Operation: int8(one.Operation), Permission: int8(one.PermissionType),
			})
		}
	}
	return acls, answer.Error
}

func (c client) CreateACL(acl rows.ACL) error {
	answer, err := c.CreateACLs(limit(), &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{
		ResourceType: kafka.ResourceType(acl.Resource), ResourceName: acl.Name, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: acl.Principal(), Host: "*",
		Operation: kafka.ACLOperationType(acl.Operation), PermissionType: kafka.ACLPermissionType(acl.Permission),
	}}})
	if err != nil {
		return err
	}
	return answer.Errors[0]
}

func (c client) DeleteACL(acl rows.ACL) (int, error) {
	answer, err := c.DeleteACLs(limit(), &kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{{
		ResourceTypeFilter: kafka.ResourceType(acl.Resource), ResourceNameFilter: acl.Name,
		ResourcePatternTypeFilter: kafka.PatternTypeLiteral, PrincipalFilter: acl.Principal(), HostFilter: "*",
		Operation: kafka.ACLOperationType(acl.Operation), PermissionType: kafka.ACLPermissionType(acl.Permission),
	}}})
	if err != nil {
		return 0, err
	}
	return len(answer.Results[0].MatchingACLs), answer.Results[0].Error
}
