//go:build !old

package main

import (
	"context"
	"errors"

	"github.com/IBM/sarama"

	"jackdaw/compat/rows"
)

func (client) Lacks() map[string]string {
	return map[string]string{"kip-848": "Sarama has no such consumer"}
}

func inTransaction(config *sarama.Config, how rows.Producing, messages []*sarama.ProducerMessage) error {
	config.Producer.Transaction.ID = how.TransactionalID
	producer, err := sarama.NewSyncProducer([]string{rows.Bootstrap}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := producer.BeginTxn(); err != nil {
		return err
	}
	if err := producer.SendMessages(messages); err != nil {
		return err
	}
	if how.Abort {
		return producer.AbortTxn()
	}
	return producer.CommitTxn()
}

func (client) Codecs() []string { return rows.Codecs }

func adapt(*sarama.Config) {}

func join(config *sarama.Config, how rows.Joining) {
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.InstanceId = how.Instance
	strategy := sarama.NewBalanceStrategySticky()
	if how.Cooperative {
		strategy = sarama.NewBalanceStrategyCooperativeSticky()
	}
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
}

func commit(session sarama.ConsumerGroupSession) { session.Commit() }

// processor produces the records that it reads, in one transaction with their offsets.
type processor struct {
	to, group string
	left      int
	producer  sarama.SyncProducer
	done      context.CancelFunc
	failed    error
}

func (*processor) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*processor) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (p *processor) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		_, _, err := p.producer.SendMessage(&sarama.ProducerMessage{Topic: p.to, Value: sarama.ByteEncoder(message.Value)})
		p.failed = errors.Join(p.failed, err, p.producer.AddMessageToTxn(message, p.group, nil))
		if p.left--; p.left == 0 {
			p.done()
		}
	}
	return nil
}

func (client) ReadProcessWrite(id, group, from, to string, records int, finish bool) error {
	config := settings()
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	config.Producer.Transaction.ID = id
	join(config, rows.Joining{})
	producer, err := sarama.NewSyncProducer([]string{rows.Bootstrap}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	consumer, err := sarama.NewConsumerGroup([]string{rows.Bootstrap}, group, config)
	if err != nil {
		return err
	}
	defer consumer.Close()
	if err := producer.BeginTxn(); err != nil {
		return err
	}
	ctx, done := context.WithTimeout(context.Background(), rows.Limit)
	defer done()
	process := &processor{to: to, group: group, left: records, producer: producer, done: done}
	for ctx.Err() == nil {
		if err := consumer.Consume(ctx, []string{from}, process); err != nil {
			return err
		}
	}
	switch {
	case process.failed != nil:
		return process.failed
	case process.left > 0:
		return errors.New("not every record came in time")
	case finish:
		return producer.CommitTxn()
	}
	return producer.AbortTxn()
}

func (c client) Configs(topic string) (map[string]string, error) {
	entries, err := c.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	configs := map[string]string{}
	for _, entry := range entries {
		configs[entry.Name] = entry.Value
	}
	return configs, err
}

func (c client) AlterConfigs(topic string, configs map[string]string) error {
	entries := map[string]sarama.IncrementalAlterConfigsEntry{}
	for key, value := range configs {
		entries[key] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	}
	return c.admin.IncrementalAlterConfig(sarama.TopicResource, topic, entries, false)
}

func (c client) DeleteRecords(topic string, before int64) error {
	return c.admin.DeleteRecords(topic, map[int32]int64{0: before})
}

func (c client) DeleteGroup(group string) error { return c.admin.DeleteConsumerGroup(group) }

func (c client) AlterOffset(group, topic string, offset int64) error {
	answer, err := c.admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{
		topic: {0: {Offset: offset, LeaderEpoch: -1}},
	}, nil)
	if err != nil {
		return err
	}
	return kafka(answer.Errors[topic][0])
}

func (client) Untrusted(err error) bool { return rows.OfCertificate(err) }

const aclVersion = 2

func resource(acl rows.ACL) sarama.Resource {
	return sarama.Resource{
		ResourceType: sarama.AclResourceType(acl.Resource), ResourceName: acl.Name, ResourcePatternType: sarama.AclPatternLiteral,
	}
}
