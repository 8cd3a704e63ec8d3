// A producer that writes one record and then stays: its client pushes metrics meanwhile.
//
//	client-metrics BOOTSTRAP TOPIC CLIENT
package main

import (
	"context"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.ClientID(os.Args[3]), kgo.AllowAutoTopicCreation())
	if err != nil {
		log.Fatal(err)
	}
	record := &kgo.Record{Topic: os.Args[2], Value: []byte("order")}
	if err := client.ProduceSync(context.Background(), record).FirstErr(); err != nil {
		log.Fatal(err)
	}
	time.Sleep(5 * time.Minute)
}
