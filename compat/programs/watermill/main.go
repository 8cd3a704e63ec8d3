// An application with Watermill's router.
//
//	watermill HOST:PORT publish TOPIC FIRST LAST           publishes orders of ten customers, by customer, to three partitions
//	watermill HOST:PORT route FROM TO POISON GROUP TOTAL   pays them until the group has committed so many. An order with a
//	                                                       zero at its end fails once and is repeated; one with 13 at its
//	                                                       end always fails and goes to the poison queue.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

var (
	brokers    = []string{os.Args[1]}
	logger     = watermill.NewStdLogger(false, false)
	byCustomer = kafka.NewWithPartitioningMarshaler(func(_ string, order *message.Message) (string, error) {
		return order.Metadata.Get("customer"), nil
	})
)

func main() {
	switch args := os.Args[3:]; os.Args[2] {
	case "publish":
		publish(args[0], number(args[1]), number(args[2]))
	case "route":
		route(args[0], args[1], args[2], args[3], int64(number(args[4])))
	}
}

func publish(topic string, first, last int) {
	must(subscriber("").SubscribeInitialize(topic))
	publisher := newPublisher()
	for n := first; n <= last; n++ {
		order := message.NewMessage(fmt.Sprintf("order-%d", n), []byte(strconv.Itoa(n)))
		order.Metadata.Set("customer", strconv.Itoa(n%10))
		must(publisher.Publish(topic, order))
	}
	must(publisher.Close())
	fmt.Println("published", last-first+1)
}

func route(from, to, poison, group string, total int64) {
	publisher := newPublisher()
	router := result(message.NewRouter(message.RouterConfig{}, logger))
	router.AddMiddleware(
		result(middleware.PoisonQueue(publisher, poison)),
		middleware.Retry{MaxRetries: 2, InitialInterval: time.Millisecond, Logger: logger}.Middleware,
	)
	attempts, paid := map[string]int{}, 0 // one handler, one message at a time
	router.AddHandler("pay", from, subscriber(group), to, publisher, func(order *message.Message) ([]*message.Message, error) {
		name := string(order.Payload)
		attempts[name]++
		if strings.HasSuffix(name, "13") || strings.HasSuffix(name, "0") && attempts[name] == 1 {
			return nil, errors.New("no money")
		}
		paid++
		answer := message.NewMessage(order.UUID, []byte("paid "+name))
		answer.Metadata.Set("customer", order.Metadata.Get("customer"))
		return message.Messages{answer}, nil
	})
	go func() {
		awaitCommits(from, group, total)
		must(router.Close())
	}()
	must(router.Run(context.Background()))
	fmt.Println("paid", paid)
}

// awaitCommits returns when the group's offsets in the topic add up to the total.
func awaitCommits(topic, group string, total int64) {
	admin := result(sarama.NewClusterAdmin(brokers, sarama.NewConfig()))
	defer admin.Close()
	for {
		committed := int64(0)
		for _, partition := range result(admin.ListConsumerGroupOffsets(group, nil)).Blocks[topic] {
			if partition.Err != sarama.ErrNoError {
				log.Fatal(partition.Err)
			}
			committed += max(0, partition.Offset)
		}
		if committed >= total {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func newPublisher() *kafka.Publisher {
	return result(kafka.NewPublisher(kafka.PublisherConfig{Brokers: brokers, Marshaler: byCustomer}, logger))
}

func subscriber(group string) *kafka.Subscriber {
	config := kafka.DefaultSaramaSubscriberConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	return result(kafka.NewSubscriber(kafka.SubscriberConfig{
		Brokers:                brokers,
		Unmarshaler:            byCustomer,
		OverwriteSaramaConfig:  config,
		ConsumerGroup:          group,
		InitializeTopicDetails: &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1},
	}, logger))
}

func number(text string) int { return result(strconv.Atoi(text)) }

func result[T any](value T, err error) T {
	must(err)
	return value
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
