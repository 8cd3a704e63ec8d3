//go:build old

package main

import (
	"errors"
	"time"

	"github.com/IBM/sarama"

	"jackdaw/compat/rows"
)

func (client) Lacks() map[string]string {
	const why = "not in Sarama 1.22"
	return map[string]string{"static": why, "cooperative": why, "kip-848": why, "transactions": why}
}

func (client) HidesRefusedTokens() {}

func inTransaction(*sarama.Config, rows.Producing, []*sarama.ProducerMessage) error {
	return errors.New("not in Sarama 1.22")
}

func (client) ReadProcessWrite(string, string, string, string, int, bool) error {
	return errors.New("not in Sarama 1.22")
}

// Codecs lacks zstd: Sarama 1.22 sends it in a version of Produce in which Kafka does not accept it.
func (client) Codecs() []string { return []string{"none", "gzip", "snappy", "lz4"} }

func adapt(config *sarama.Config) {
	config.Consumer.Offsets.Retention = 24 * time.Hour // else it commits with version 1, which Kafka 4 does not have
}

func join(config *sarama.Config, _ rows.Joining) {
	config.Consumer.Group.Rebalance.Strategy = sarama.BalanceStrategyRoundRobin
}

// It commits marked offsets once a second and at the end of a session.
func commit(sarama.ConsumerGroupSession) {}

// The admin client drops some error codes, so these functions send the requests themselves.

func (c client) Configs(topic string) (map[string]string, error) {
	broker, err := c.broker()
	if err != nil {
		return nil, err
	}
	answer, err := broker.DescribeConfigs(&sarama.DescribeConfigsRequest{
		Version: 2, Resources: []*sarama.ConfigResource{{Type: sarama.TopicResource, Name: topic}},
	})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, entry := range answer.Resources[0].Configs {
		configs[entry.Name] = entry.Value
	}
	return configs, kafka(sarama.KError(answer.Resources[0].ErrorCode))
}

// AlterConfigs replaces all settings of a topic: the older request.
func (c client) AlterConfigs(topic string, configs map[string]string) error {
	broker, err := c.broker()
	if err != nil {
		return err
	}
	answer, err := broker.AlterConfigs(&sarama.AlterConfigsRequest{
		Resources: []*sarama.AlterConfigsResource{{Type: sarama.TopicResource, Name: topic, ConfigEntries: pointers(configs)}},
	})
	if err != nil {
		return err
	}
	return kafka(sarama.KError(answer.Resources[0].ErrorCode))
}

func (c client) DeleteRecords(topic string, before int64) error {
	broker, err := c.Leader(topic, 0)
	if err != nil {
		return err
	}
	_ = broker.Open(c.Config())
	answer, err := broker.DeleteRecords(&sarama.DeleteRecordsRequest{
		Topics:  map[string]*sarama.DeleteRecordsRequestTopic{topic: {PartitionOffsets: map[int32]int64{0: before}}},
		Timeout: rows.Limit,
	})
	if err != nil {
		return err
	}
	return kafka(answer.Topics[topic].Partitions[0].Err)
}

func (c client) DeleteGroup(group string) error {
	coordinator, err := c.Coordinator(group)
	if err != nil {
		return err
	}
	answer, err := coordinator.DeleteGroups(&sarama.DeleteGroupsRequest{Groups: []string{group}})
	if err != nil {
		return err
	}
	return kafka(answer.GroupErrorCodes[group])
}

func (c client) AlterOffset(group, topic string, offset int64) error {
	offsets, err := sarama.NewOffsetManagerFromClient(group, c)
	if err != nil {
		return err
	}
	partition, err := offsets.ManagePartition(topic, 0)
	if err != nil {
		return err
	}
	partition.ResetOffset(offset, "")
	partition.AsyncClose()
	for err := range partition.Errors() {
		return err
	}
	return offsets.Close()
}

func (client) JoinsForEver() {}

// Untrusted: Sarama 1.22 hides the reason.
func (client) Untrusted(err error) bool { return errors.Is(err, sarama.ErrOutOfBrokers) }

const aclVersion = 1

func resource(acl rows.ACL) sarama.Resource {
	return sarama.Resource{
		ResourceType: sarama.AclResourceType(acl.Resource), ResourceName: acl.Name, ResoucePatternType: sarama.AclPatternLiteral,
	}
}
