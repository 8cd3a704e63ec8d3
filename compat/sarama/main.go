// The rows of the matrix with Sarama: the common code of its newest version and 1.22. The files beside it have the differences.
package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"jackdaw/compat/rows"
)

type client struct {
	sarama.Client
	admin sarama.ClusterAdmin
}

func main() {
	shared, err := sarama.NewClient([]string{rows.Bootstrap}, settings())
	if err != nil {
		panic(err)
	}
	admin, err := sarama.NewClusterAdmin([]string{rows.Bootstrap}, settings())
	if err != nil {
		panic(err)
	}
	rows.Main(client{shared, admin})
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Return.Errors = true
	// Its default limits are short for a machine with many programs.
	config.Net.ReadTimeout, config.Consumer.Group.Session.Timeout = rows.Limit, rows.Limit/2
	config.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
	adapt(config)
	return config
}

// at are the settings of a client that gets in this way.
func at(how rows.Access) (*sarama.Config, error) {
	config := settings()
	protection, err := how.TLS()
	config.Net.TLS.Enable, config.Net.TLS.Config = protection != nil, protection
	if how.Mechanism != "" {
		logIn(config, how)
	}
	return config, err
}

func logIn(config *sarama.Config, how rows.Access) {
	config.Net.SASL.Enable = true
	config.Net.SASL.Mechanism = sarama.SASLMechanism(how.Mechanism)
	config.Net.SASL.User, config.Net.SASL.Password = how.User, how.Password
	config.Net.SASL.TokenProvider = token(how.Token)
	config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient {
		hash := scram.SHA256
		if how.Mechanism == sarama.SASLTypeSCRAMSHA512 {
			hash = scram.SHA512
		}
		return &conversation{hash: hash}
	}
}

type token string

func (t token) Token() (*sarama.AccessToken, error) {
	return &sarama.AccessToken{Token: string(t)}, nil
}

// conversation is the part of SCRAM that Sarama leaves to its users.
type conversation struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (c *conversation) Begin(user, password, authorization string) error {
	client, err := c.hash.NewClient(user, password, authorization)
	if err == nil {
		c.ClientConversation = client.NewConversation()
	}
	return err
}

// Code returns the error code. Most of Sarama's errors have it in a field, where its users read it if they cannot unwrap it.
func (client) Code(err error) int16 {
	if several := (sarama.ProducerErrors)(nil); errors.As(err, &several) {
		err = several[0].Err
	}
	if kafka := sarama.KError(0); errors.As(err, &kafka) {
		return int16(kafka)
	}
	if errors.Is(err, sarama.ErrSASLAuthenticationFailed) { // errors.As does not find it
		return int16(sarama.ErrSASLAuthenticationFailed)
	}
	if value := reflect.Indirect(reflect.ValueOf(err)); value.Kind() == reflect.Struct {
		if field := value.FieldByName("Err"); field.IsValid() {
			if kafka, is := field.Interface().(sarama.KError); is {
				return int16(kafka)
			}
		}
	}
	return -2
}

// kafka is the error for a code in an answer, nil for 0.
func kafka(code sarama.KError) error {
	if code == sarama.ErrNoError {
		return nil
	}
	return code
}

func (c client) Metadata() (cluster rows.Cluster, err error) {
	if err = c.RefreshMetadata(); err != nil {
		return
	}
	for _, broker := range c.Brokers() {
		cluster.Brokers = append(cluster.Brokers, broker.ID())
	}
	controller, err := c.Controller()
	if err != nil {
		return
	}
	cluster.Controller = controller.ID()
	topics, err := c.Topics()
	if err != nil {
		return
	}
	cluster.Leaders = map[string][]int32{}
	for _, topic := range topics {
		partitions, err := c.Partitions(topic)
		if err != nil {
			continue // it was deleted meanwhile
		}
		for _, partition := range partitions {
			leader, err := c.Leader(topic, partition)
			if err != nil {
				break
			}
			cluster.Leaders[topic] = append(cluster.Leaders[topic], leader.ID())
		}
	}
	return
}

func pointers(configs map[string]string) map[string]*string {
	out := map[string]*string{}
	for key, value := range configs {
		out[key] = &value
	}
	return out
}

func (c client) CreateTopic(topic string, partitions int, configs map[string]string) error {
	return c.admin.CreateTopic(topic, &sarama.TopicDetail{
		NumPartitions: int32(partitions), ReplicationFactor: 1, ConfigEntries: pointers(configs),
	}, false)
}

func (c client) DeleteTopic(topic string) error { return c.admin.DeleteTopic(topic) }

func (c client) AddPartitions(topic string, total int) error {
	return c.admin.CreatePartitions(topic, int32(total), nil, false)
}

func (c client) Produce(topic string, how rows.Producing, records ...rows.Record) error {
	config, err := at(how.Access)
	if err != nil {
		return err
	}
	config.Producer.Compression = map[string]sarama.CompressionCodec{
		"": sarama.CompressionNone, "none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[how.Codec]
	config.Producer.RequiredAcks = map[int]sarama.RequiredAcks{
		0: sarama.WaitForAll, rows.LeaderAcks: sarama.WaitForLocal, rows.NoAcks: sarama.NoResponse,
	}[how.Acks]
	if how.MaxBytes > 0 {
		config.Producer.MaxMessageBytes = how.MaxBytes
	}
	config.Producer.Flush.MaxMessages = how.BatchRecords
	if how.Idempotent || how.TransactionalID != "" {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	var messages []*sarama.ProducerMessage
	for _, record := range records {
		message := &sarama.ProducerMessage{
			Topic: topic, Partition: record.Partition, Timestamp: record.Time,
			Key: encoder(record.Key), Value: encoder(record.Value),
		}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
		}
		messages = append(messages, message)
	}
	if how.TransactionalID != "" {
		return inTransaction(config, how, messages)
	}
	producer, err := sarama.NewSyncProducer([]string{how.Access.Server()}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	return producer.SendMessages(messages)
}

func encoder(bytes []byte) sarama.Encoder {
	if bytes == nil {
		return nil
	}
	return sarama.ByteEncoder(bytes)
}

func ours(message *sarama.ConsumerMessage) rows.Record {
	record := rows.Record{
		Partition: message.Partition, Offset: message.Offset, Key: message.Key, Value: message.Value, Time: message.Timestamp,
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, rows.Header{Key: string(header.Key), Value: header.Value})
	}
	return record
}

func (client) Read(topic string, what rows.Reading) (got []rows.Record, err error) {
	config, err := at(what.Access)
	if err != nil {
		return nil, err
	}
	if what.Committed {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	consumer, err := sarama.NewConsumer([]string{what.Access.Server()}, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, what.From)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) && what.Reset { // as its users do
		partition, err = consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	}
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	for limit := time.After(rows.Limit); !what.Enough(got); {
		select {
		case message := <-partition.Messages():
			got = append(got, ours(message))
		case err := <-partition.Errors():
			return got, err
		case <-limit:
			return got, fmt.Errorf("%d records came in time", len(got))
		}
	}
	return got, nil
}

func (c client) OffsetAt(topic string, at int64) (int64, error) { return c.GetOffset(topic, 0, at) }

// handler is a member of a group as Sarama calls it.
type handler struct {
	*rows.Member
	lock    sync.Mutex
	session sarama.ConsumerGroupSession
	tells   bool // Setup and Cleanup report all partitions; else each claim reports its own
}

func (h *handler) Setup(session sarama.ConsumerGroupSession) error {
	h.lock.Lock()
	h.session = session
	h.lock.Unlock()
	if h.tells {
		for _, partitions := range session.Claims() {
			h.Assigned(partitions...)
		}
	}
	return nil
}

func (h *handler) Cleanup(session sarama.ConsumerGroupSession) error {
	if h.tells {
		for _, partitions := range session.Claims() {
			h.Revoked(partitions...)
		}
	}
	return nil
}

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	if !h.tells {
		h.Assigned(claim.Partition())
		defer h.Revoked(claim.Partition())
	}
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.Got(ours(message))
		case <-session.Context().Done():
			return nil
		}
	}
}

func (client) Join(group, topic string, how rows.Joining) (*rows.Member, error) {
	config, err := at(how.Access)
	if err != nil {
		return nil, err
	}
	join(config, how)
	consumer, err := sarama.NewConsumerGroup([]string{how.Access.Server()}, group, config)
	if err != nil {
		return nil, err
	}
	member := &handler{Member: rows.NewMember(), tells: !how.Cooperative}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		for err := range consumer.Errors() {
			member.Failed(err)
		}
	}()
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := consumer.Consume(ctx, []string{topic}, member); err != nil {
				member.Failed(err)
				return
			}
		}
	}()
	member.Commit = func(record rows.Record) error {
		member.lock.Lock()
		defer member.lock.Unlock()
		member.session.MarkOffset(topic, record.Partition, record.Offset+1, "")
		commit(member.session)
		return nil
	}
	member.Leave = func() error {
		end()
		<-ended
		return consumer.Close()
	}
	return member.Member, nil
}

func (c client) Groups() (groups []string, err error) {
	listed, err := c.admin.ListConsumerGroups()
	for group := range listed {
		groups = append(groups, group)
	}
	return
}

func (c client) DescribeGroup(group string) (string, int, error) {
	groups, err := c.admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		return "", 0, err
	}
	return groups[0].State, len(groups[0].Members), kafka(groups[0].Err)
}

func (c client) Committed(group, topic string) (int64, error) {
	answer, err := c.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	if err != nil {
		return 0, err
	}
	block := answer.GetBlock(topic, 0)
	return block.Offset, kafka(block.Err)
}

// The admin client of both versions ignores codes in the answers about ACLs, so these functions send the requests themselves.

func (c client) broker() (*sarama.Broker, error) {
	broker, err := c.Controller()
	if err == nil {
		_ = broker.Open(c.Config())
	}
	return broker, err
}

func (c client) CreateACL(acl rows.ACL) error {
	broker, err := c.broker()
	if err != nil {
		return err
	}
	answer, err := broker.CreateAcls(&sarama.CreateAclsRequest{Version: aclVersion, AclCreations: []*sarama.AclCreation{{
		Resource: resource(acl),
		Acl: sarama.Acl{
			Principal: acl.Principal(), Host: "*",
			Operation: sarama.AclOperation(acl.Operation), PermissionType: sarama.AclPermissionType(acl.Permission),
		},
	}}})
	if err != nil {
		return err
	}
	return kafka(answer.AclCreationResponses[0].Err)
}

func (c client) DeleteACL(acl rows.ACL) (int, error) {
	broker, err := c.broker()
	if err != nil {
		return 0, err
	}
	principal, host := acl.Principal(), "*"
	answer, err := broker.DeleteAcls(&sarama.DeleteAclsRequest{Version: aclVersion, Filters: []*sarama.AclFilter{{
		Version: aclVersion, ResourceType: sarama.AclResourceType(acl.Resource), ResourceName: &acl.Name,
		ResourcePatternTypeFilter: sarama.AclPatternLiteral, Principal: &principal, Host: &host,
		Operation: sarama.AclOperation(acl.Operation), PermissionType: sarama.AclPermissionType(acl.Permission),
	}}})
	if err != nil {
		return 0, err
	}
	return len(answer.FilterResponses[0].MatchingAcls), kafka(answer.FilterResponses[0].Err)
}

func (c client) ACLs(topic string) (acls []rows.ACL, err error) {
	broker, err := c.broker()
	if err != nil {
		return nil, err
	}
	answer, err := broker.DescribeAcls(&sarama.DescribeAclsRequest{Version: aclVersion, AclFilter: sarama.AclFilter{
		Version: aclVersion, ResourceType: sarama.AclResourceTopic, ResourceName: &topic,
		ResourcePatternTypeFilter: sarama.AclPatternLiteral, Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny,
	}})
	if err != nil {
		return nil, err
	}
	for _, found := range answer.ResourceAcls {
		for _, one := range found.Acls {
			acls = append(acls, rows.ACL{
				Resource: int8(found.ResourceType), Name: found.ResourceName,
				Operation: int8(one.Operation), Permission: int8(one.PermissionType),
			})
		}
	}
	return acls, kafka(answer.Err)
}
