// The rows of the matrix with confluent-kafka-go, a binding of librdkafka.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"jackdaw/compat/rows"
)

type client struct{ admin *kafka.AdminClient }

func main() {
	admin, err := kafka.NewAdminClient(settings())
	if err != nil {
		panic(err)
	}
	rows.Main(client{admin})
}

func settings() *kafka.ConfigMap { return &kafka.ConfigMap{"bootstrap.servers": rows.Bootstrap} }

// at are the settings of a client that gets in this way.
func at(how rows.Access) *kafka.ConfigMap {
	config := &kafka.ConfigMap{"bootstrap.servers": how.Server(), "security.protocol": how.Protocol()}
	for key, value := range map[string]string{
		"sasl.mechanism": how.Mechanism, "sasl.username": how.User, "sasl.password": how.Password,
		"ssl.ca.location": how.Authority, "ssl.certificate.location": how.Certificate, "ssl.key.location": how.Key,
	} {
		if value != "" {
			_ = config.SetKey(key, value)
		}
	}
	return config
}

// taker is a producer or a consumer.
type taker interface {
	SetOAuthBearerToken(kafka.OAuthBearerToken) error
}

// logIn hands the token over. Its end is told beside it, and the library sends no token that has ended.
func logIn(one taker, how rows.Access) error {
	if how.Token == "" {
		return nil
	}
	return one.SetOAuthBearerToken(kafka.OAuthBearerToken{TokenValue: how.Token, Expiration: time.Now().Add(time.Hour), Principal: how.User})
}

func (client) Lacks() map[string]string { return nil }

func (client) Code(err error) int16 {
	var said kafka.Error
	switch {
	case !errors.As(err, &said):
		return -2
	case said.Code() == kafka.ErrAutoOffsetReset: // its error for an offset out of range without a reset
		return int16(kafka.ErrOffsetOutOfRange)
	case said.Code() == kafka.ErrAuthentication: // its error for a login that the broker refused
		return int16(kafka.ErrSaslAuthenticationFailed)
	}
	return int16(said.Code())
}

// failed is the error of one element of an answer, or nil.
func failed(err error) error {
	var said kafka.Error
	if errors.As(err, &said) && said.Code() == kafka.ErrNoError {
		return nil
	}
	return err
}

func (client) Codecs() []string { return rows.Codecs }

func limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), rows.Limit)
	time.AfterFunc(rows.Limit, cancel)
	return ctx
}

func (c client) Metadata() (cluster rows.Cluster, err error) {
	metadata, err := c.admin.GetMetadata(nil, true, int(rows.Limit.Milliseconds()))
	if err != nil {
		return
	}
	for _, broker := range metadata.Brokers {
		cluster.Brokers = append(cluster.Brokers, broker.ID)
	}
	cluster.Leaders = map[string][]int32{}
	for name, topic := range metadata.Topics {
		for _, partition := range topic.Partitions {
			cluster.Leaders[name] = append(cluster.Leaders[name], partition.Leader)
		}
	}
	cluster.Controller, err = c.admin.ControllerID(limit())
	return
}

func (c client) CreateTopic(topic string, partitions int, configs map[string]string) error {
	answer, err := c.admin.CreateTopics(limit(), []kafka.TopicSpecification{{
		Topic: topic, NumPartitions: partitions, ReplicationFactor: 1, Config: configs,
	}})
	if err != nil {
		return err
	}
	return failed(answer[0].Error)
}

func (c client) DeleteTopic(topic string) error {
	answer, err := c.admin.DeleteTopics(limit(), []string{topic})
	if err != nil {
		return err
	}
	return failed(answer[0].Error)
}

func (c client) AddPartitions(topic string, total int) error {
	answer, err := c.admin.CreatePartitions(limit(), []kafka.PartitionsSpecification{{Topic: topic, IncreaseTo: total}})
	if err != nil {
		return err
	}
	return failed(answer[0].Error)
}

func (client) Produce(topic string, how rows.Producing, records ...rows.Record) error {
	config := at(how.Access)
	set := func(key string, value any) { _ = config.SetKey(key, value) }
	if how.Codec != "" {
		set("compression.type", how.Codec)
	}
	set("acks", map[int]string{0: "all", rows.LeaderAcks: "1", rows.NoAcks: "0"}[how.Acks])
	set("enable.idempotence", how.Idempotent || how.TransactionalID != "")
	if how.BatchRecords > 0 {
		set("batch.num.messages", how.BatchRecords)
	}
	if how.MaxBytes > 0 {
		set("message.max.bytes", how.MaxBytes)
	}
	if how.TransactionalID != "" {
		set("transactional.id", how.TransactionalID)
	}
	producer, err := kafka.NewProducer(config)
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := logIn(producer, how.Access); err != nil {
		return err
	}
	if how.TransactionalID != "" {
		if err := producer.InitTransactions(limit()); err != nil {
			return err
		}
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
	}
	if err := send(producer, topic, records); err != nil {
		return err
	}
	switch {
	case how.TransactionalID == "":
		return nil
	case how.Abort:
		return producer.AbortTransaction(limit())
	}
	return producer.CommitTransaction(limit())
}

func send(producer *kafka.Producer, topic string, records []rows.Record) error {
	reports := make(chan kafka.Event, len(records))
	for _, record := range records {
		message := &kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: record.Partition},
			Key:            record.Key, Value: record.Value, Timestamp: record.Time,
		}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, kafka.Header(header))
		}
		if err := producer.Produce(message, reports); err != nil {
			return err
		}
	}
	for range records {
		if err := (<-reports).(*kafka.Message).TopicPartition.Error; err != nil {
			return err
		}
	}
	return nil
}

func ours(message *kafka.Message) rows.Record {
	at := message.TopicPartition
	record := rows.Record{
		Partition: at.Partition, Offset: int64(at.Offset), Key: message.Key, Value: message.Value, Time: message.Timestamp,
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, rows.Header(header))
	}
	return record
}

// poll returns the next record, or nil if there is none within a short time.
func poll(consumer *kafka.Consumer) (*kafka.Message, error) {
	switch event := consumer.Poll(100).(type) {
	case *kafka.Message:
		return event, event.TopicPartition.Error
	case kafka.Error:
		return nil, event
	}
	return nil, nil
}

func (client) Read(topic string, what rows.Reading) (got []rows.Record, err error) {
	config := at(what.Access)
	set := func(key string, value any) { _ = config.SetKey(key, value) }
	set("group.id", topic)
	set("enable.auto.commit", false)
	set("isolation.level", map[bool]string{false: "read_uncommitted", true: "read_committed"}[what.Committed])
	set("auto.offset.reset", map[bool]string{false: "earliest", true: "error"}[what.Fails])
	consumer, err := kafka.NewConsumer(config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	if err := logIn(consumer, what.Access); err != nil {
		return nil, err
	}
	if err := consumer.Assign([]kafka.TopicPartition{{Topic: &topic, Offset: kafka.Offset(what.From)}}); err != nil {
		return nil, err
	}
	for end := time.Now().Add(rows.Limit); !what.Enough(got); {
		message, err := poll(consumer)
		switch {
		case said(err) == kafka.ErrGroupAuthorizationFailed:
			// It asks for the coordinator of its group, although it has no use for it.
		case err != nil:
			return got, err
		case message != nil:
			got = append(got, ours(message))
		case time.Now().After(end):
			return got, fmt.Errorf("%d records came in time", len(got))
		}
	}
	return got, nil
}

func (c client) OffsetAt(topic string, at int64) (int64, error) {
	answer, err := c.admin.ListOffsets(limit(), map[kafka.TopicPartition]kafka.OffsetSpec{{Topic: &topic}: kafka.OffsetSpec(at)})
	if err != nil {
		return 0, err
	}
	for _, found := range answer.ResultInfos {
		return int64(found.Offset), failed(found.Error)
	}
	return 0, errors.New("no offset")
}

func (client) Join(group, topic string, how rows.Joining) (*rows.Member, error) {
	config := at(how.Access)
	set := func(key string, value any) { _ = config.SetKey(key, value) }
	set("group.id", group)
	set("enable.auto.commit", false)
	set("auto.offset.reset", "earliest")
	if how.Instance != "" {
		set("group.instance.id", how.Instance)
	}
	switch {
	case how.NewProtocol:
		set("group.protocol", "consumer")
	case how.Cooperative:
		set("partition.assignment.strategy", "cooperative-sticky")
		fallthrough
	default:
		set("heartbeat.interval.ms", 200)
	}
	consumer, err := kafka.NewConsumer(config)
	if err != nil {
		return nil, err
	}
	member := rows.NewMember()
	partitions := func(these []kafka.TopicPartition) (numbers []int32) {
		for _, partition := range these {
			numbers = append(numbers, partition.Partition)
		}
		return
	}
	err = consumer.Subscribe(topic, func(_ *kafka.Consumer, event kafka.Event) error {
		switch event := event.(type) {
		case kafka.AssignedPartitions:
			member.Assigned(partitions(event.Partitions)...)
		case kafka.RevokedPartitions:
			member.Revoked(partitions(event.Partitions)...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
			}
			message, err := poll(consumer)
			switch {
			case err != nil:
				member.Failed(err)
			case message != nil:
				member.Got(ours(message))
			}
		}
	}()
	member.Commit = func(record rows.Record) error {
		answer, err := consumer.CommitOffsets([]kafka.TopicPartition{{
			Topic: &topic, Partition: record.Partition, Offset: kafka.Offset(record.Offset + 1),
		}})
		if err != nil {
			return err
		}
		return answer[0].Error
	}
	member.Leave = func() error {
		close(end)
		<-ended
		return consumer.Close()
	}
	return member, nil
}

func (client) ReadProcessWrite(id, group, from, to string, records int, commit bool) error {
	config := settings()
	set := func(key string, value any) { _ = config.SetKey(key, value) }
	set("group.id", group)
	set("enable.auto.commit", false)
	set("auto.offset.reset", "earliest")
	consumer, err := kafka.NewConsumer(config)
	if err != nil {
		return err
	}
	defer consumer.Close()
	if err := consumer.Subscribe(from, nil); err != nil {
		return err
	}
	config = settings()
	set("transactional.id", id)
	producer, err := kafka.NewProducer(config)
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := producer.InitTransactions(limit()); err != nil {
		return err
	}
	if err := producer.BeginTransaction(); err != nil {
		return err
	}
	for end := time.Now().Add(rows.Limit); records > 0; {
		message, err := poll(consumer)
		switch {
		case err != nil:
			return err
		case message != nil:
			if err := send(producer, to, []rows.Record{{Value: message.Value}}); err != nil {
				return err
			}
			records--
		case time.Now().After(end):
			return errors.New("not every record came in time")
		}
	}
	assigned, err := consumer.Assignment()
	if err != nil {
		return err
	}
	offsets, err := consumer.Position(assigned)
	if err != nil {
		return err
	}
	member, err := consumer.GetConsumerGroupMetadata()
	if err != nil {
		return err
	}
	if err := producer.SendOffsetsToTransaction(limit(), offsets, member); err != nil {
		return err
	}
	if commit {
		return producer.CommitTransaction(limit())
	}
	return producer.AbortTransaction(limit())
}

func (c client) Configs(topic string) (map[string]string, error) {
	answer, err := c.admin.DescribeConfigs(limit(), []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: topic}})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for key, entry := range answer[0].Config {
		configs[key] = entry.Value
	}
	return configs, failed(answer[0].Error)
}

func (c client) AlterConfigs(topic string, configs map[string]string) error {
	resource := kafka.ConfigResource{Type: kafka.ResourceTopic, Name: topic}
	for key, value := range configs {
		resource.Config = append(resource.Config, kafka.ConfigEntry{
			Name: key, Value: value, IncrementalOperation: kafka.AlterConfigOpTypeSet,
		})
	}
	answer, err := c.admin.IncrementalAlterConfigs(limit(), []kafka.ConfigResource{resource})
	if err != nil {
		return err
	}
	return failed(answer[0].Error)
}

func (c client) DeleteRecords(topic string, before int64) error {
	answer, err := c.admin.DeleteRecords(limit(), []kafka.TopicPartition{{Topic: &topic, Offset: kafka.Offset(before)}})
	if err != nil {
		return err
	}
	return failed(answer.DeleteRecordsResults[0].TopicPartition.Error)
}

func (c client) Groups() (groups []string, err error) {
	answer, err := c.admin.ListConsumerGroups(limit())
	for _, group := range answer.Valid {
		groups = append(groups, group.GroupID)
	}
	return groups, errors.Join(append(answer.Errors, err)...)
}

func (c client) DescribeGroup(group string) (string, int, error) {
	answer, err := c.admin.DescribeConsumerGroups(limit(), []string{group})
	if err != nil {
		return "", 0, err
	}
	found := answer.ConsumerGroupDescriptions[0]
	return found.State.String(), len(found.Members), failed(found.Error)
}

func (c client) DeleteGroup(group string) error {
	answer, err := c.admin.DeleteConsumerGroups(limit(), []string{group})
	if err != nil {
		return err
	}
	return failed(answer.ConsumerGroupResults[0].Error)
}

func (c client) Committed(group, topic string) (int64, error) {
	answer, err := c.admin.ListConsumerGroupOffsets(limit(), []kafka.ConsumerGroupTopicPartitions{
		{Group: group, Partitions: []kafka.TopicPartition{{Topic: &topic}}},
	})
	if err != nil {
		return 0, err
	}
	found := answer.ConsumerGroupsTopicPartitions[0].Partitions[0]
	if found.Offset == kafka.OffsetInvalid {
		return -1, failed(found.Error)
	}
	return int64(found.Offset), failed(found.Error)
}

func (c client) AlterOffset(group, topic string, offset int64) error {
	answer, err := c.admin.AlterConsumerGroupOffsets(limit(), []kafka.ConsumerGroupTopicPartitions{
		{Group: group, Partitions: []kafka.TopicPartition{{Topic: &topic, Offset: kafka.Offset(offset)}}},
	})
	if err != nil {
		return err
	}
	return failed(answer.ConsumerGroupsTopicPartitions[0].Partitions[0].Error)
}

// Untrusted: without a certificate only the text of the error has the reason.
func (client) Untrusted(err error) bool { return said(err) == kafka.ErrSsl || rows.OfCertificate(err) }

func said(err error) kafka.ErrorCode {
	var of kafka.Error
	if errors.As(err, &of) {
		return of.Code()
	}
	return kafka.ErrNoError
}

func binding(acl rows.ACL) kafka.ACLBinding {
	return kafka.ACLBinding{
		Type: kafka.ResourceType(acl.Resource), Name: acl.Name, ResourcePatternType: kafka.ResourcePatternTypeLiteral,
		Principal: acl.Principal(), Host: "*",
		Operation: kafka.ACLOperation(acl.Operation), PermissionType: kafka.ACLPermissionType(acl.Permission),
	}
}

func (c client) ACLs(topic string) (acls []rows.ACL, err error) {
	answer, err := c.admin.DescribeACLs(limit(), kafka.ACLBindingFilter{
		Type: kafka.ResourceTopic, Name: topic, ResourcePatternType: kafka.ResourcePatternTypeLiteral,
		Operation: kafka.ACLOperationAny, PermissionType: kafka.ACLPermissionTypeAny,
	})
	if err != nil {
		return nil, err
	}
	if len(answer.ACLBindings) == 0 {
		return nil, errors.ErrUnsupported // librdkafka returns an empty list, whatever the broker answers
	}
	for _, one := range answer.ACLBindings {
		acls = append(acls, rows.ACL{Resource: int8(one.Type), Name: one.Name, Operation: int8(one.Operation), Permission: int8(one.PermissionType)})
	}
	return acls, failed(answer.Error)
}

func (c client) CreateACL(acl rows.ACL) error {
	answer, err := c.admin.CreateACLs(limit(), kafka.ACLBindings{binding(acl)})
	if err != nil {
		return err
	}
	return failed(answer[0].Error)
}

func (c client) DeleteACL(acl rows.ACL) (int, error) {
	answer, err := c.admin.DeleteACLs(limit(), kafka.ACLBindingFilters{binding(acl)})
	if err != nil {
		return 0, err
	}
	return len(answer[0].ACLBindings), failed(answer[0].Error)
}
