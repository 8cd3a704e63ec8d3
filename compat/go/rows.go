package rows

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// Kafka's error codes that the rows provoke.
const (
	offsetOutOfRange   = 1
	unknownTopic       = 3
	messageTooLarge    = 10
	invalidTopic       = 17
	topicDenied        = 29
	groupDenied        = 30
	topicAlreadyExists = 36
	invalidPartitions  = 37
	invalidConfig      = 40
	securityDisabled   = 54
	loginFailed        = 58
)

var stories = map[string]func(*T, Client){
	"metadata":       metadata,
	"topics":         topics,
	"partitions":     partitions,
	"codecs":         codecs,
	"values":         values,
	"large":          large,
	"fetch":          fetch,
	"range":          outOfRange,
	"group":          func(t *T, c Client) { share(t, c, Joining{}) },
	"resume":         func(t *T, c Client) { resume(t, c, Joining{}) },
	"static":         static,
	"cooperative":    cooperative,
	"kip-848":        newProtocol,
	"idempotent":     idempotent,
	"transactions":   transactions,
	"configs":        configs,
	"delete-records": deleteRecords,
	"groups":         groups,
	"acls":           acls,
	"acls-enforced":  aclsEnforced,
	"sasl":           sasl,
	"tls":            withTLS,
	"oauth":          withToken,
	"restart-before": beforeTheRestart,
	"restart-after":  afterTheRestart,
}

func (t *T) create(c Client, name string, partitions int) string {
	topic := t.Topic(name)
	if err := c.CreateTopic(topic, partitions, nil); err != nil {
		t.Fail("creating %s: %v", topic, err)
	}
	t.leaders(c, topic, partitions)
	// Apache Kafka lists a topic before it can be written to: a produce without acknowledgement would be lost.
	for limit := time.Now().Add(Limit); ; time.Sleep(20 * time.Millisecond) {
		_, err := c.OffsetAt(topic, Start)
		if err == nil {
			return topic
		}
		if time.Now().After(limit) {
			t.Fail("%s does not become usable: %v", topic, err)
		}
	}
}

// leaders waits until metadata has the topic with this many partitions, 0 for a missing topic. A creation or deletion
// may reach a broker after the answer.
func (t *T) leaders(c Client, topic string, partitions int) Cluster {
	for limit := time.Now().Add(Limit); ; time.Sleep(20 * time.Millisecond) {
		cluster := must(c.Metadata())(t, "metadata")
		if len(cluster.Leaders[topic]) == partitions {
			return cluster
		}
		if time.Now().After(limit) {
			t.Fail("%s has %d partitions instead of %d", topic, len(cluster.Leaders[topic]), partitions)
		}
	}
}

func numbered(from, to int) (records []Record) {
	for number := from; number <= to; number++ {
		records = append(records, Text(fmt.Sprint(number)))
	}
	return
}

func texts(records []Record) (values []string) {
	for _, record := range records {
		values = append(values, string(record.Value))
	}
	return
}

func metadata(t *T, c Client) {
	topic := t.Topic("topic")
	t.Must(c.CreateTopic(topic, 3, nil))
	cluster := t.leaders(c, topic, 3)
	if len(cluster.Brokers) == 0 {
		t.Fail("there is no broker")
	}
	if !slices.Contains(cluster.Brokers, cluster.Controller) {
		t.Fail("controller %d is none of the brokers %v", cluster.Controller, cluster.Brokers)
	}
	for partition, leader := range cluster.Leaders[topic] {
		if !slices.Contains(cluster.Brokers, leader) {
			t.Fail("leader %d of partition %d is none of the brokers %v", leader, partition, cluster.Brokers)
		}
	}
}

func topics(t *T, c Client) {
	topic := t.Topic("topic")
	t.Must(c.CreateTopic(topic, 4, map[string]string{"retention.bytes": "1000000"}))
	t.leaders(c, topic, 4)
	t.refused(c, "making it again", c.CreateTopic(topic, 4, nil), topicAlreadyExists)
	t.refused(c, "an illegal name", c.CreateTopic("no/slashes", 1, nil), invalidTopic)
	t.refused(c, "a setting that there is not", c.CreateTopic(t.Topic("other"), 1, map[string]string{"no.such": "1"}), invalidConfig)
	t.Must(c.DeleteTopic(topic))
	t.leaders(c, topic, 0)
	t.refused(c, "deleting it again", c.DeleteTopic(topic), unknownTopic)
}

func partitions(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	t.Must(c.AddPartitions(topic, 3))
	t.leaders(c, topic, 3)
	t.refused(c, "fewer partitions", c.AddPartitions(topic, 2), invalidPartitions)
	sent := []Record{{Partition: 0, Value: []byte("a")}, {Partition: 1, Value: []byte("b")}, {Partition: 2, Value: []byte("c")}}
	t.Must(c.Produce(topic, Producing{}, sent...))
	member := must(c.Join(t.Topic("group"), topic, Joining{}))(t, "joining")
	got := member.reads(t, 3)
	t.Must(member.Leave())
	slices.SortFunc(got, func(a, b Record) int { return int(a.Partition - b.Partition) })
	for at := range got {
		got[at].Time = time.Time{}
	}
	same(t, "records of three partitions", sent, got)
}

func codecs(t *T, c Client) {
	sent := numbered(1, 500)
	for _, codec := range c.Codecs() {
		for acks, name := range map[int]string{NoAcks: "0", LeaderAcks: "1", 0: "all"} {
			topic := t.create(c, codec+"-"+name, 1)
			t.Must(c.Produce(topic, Producing{Codec: codec, Acks: acks}, sent...))
			got := must(c.Read(topic, Reading{From: Start, Count: len(sent)}))(t, codec+", acks="+name)
			same(t, codec+", acks="+name, texts(sent), texts(got))
		}
	}
}

func values(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	at := time.UnixMilli(1_700_000_000_123)
	sent := []Record{
		{Key: []byte("key"), Value: []byte("value"), Time: at},
		{Key: nil, Value: []byte("no key"), Time: at.Add(time.Millisecond)},
		{Key: []byte("no value"), Value: nil, Time: at},
		{Key: []byte{}, Value: []byte{}, Time: at},
		{Key: []byte{0, 255}, Value: []byte("binary\x00\xff"), Time: at},
		{Value: []byte("headers"), Time: at, Headers: []Header{
			{"b", []byte("2")}, {"a", []byte("1")}, {"a", []byte("3")}, {"empty", []byte{}}, {"ünï", []byte{255}},
		}},
	}
	t.Must(c.Produce(topic, Producing{}, sent...))
	if _, blind := c.(EmptyBlind); blind {
		sent[3].Key, sent[3].Value = nil, nil
		sent[5].Headers[3].Value = nil
	}
	same(t, "records", sent, must(c.Read(topic, Reading{From: Start, Count: len(sent)}))(t, "reading"))
}

func large(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	noise := make([]byte, 1_500_000)
	source := rand.NewChaCha8([32]byte{1})
	source.Read(noise)
	t.Must(c.Produce(topic, Producing{MaxBytes: 2_000_000}, Record{Value: noise[:1_000_000]}))
	t.refused(c, "1.5 MB", c.Produce(topic, Producing{MaxBytes: 2_000_000}, Record{Value: noise}), messageTooLarge)
	t.Must(c.Produce(topic, Producing{}, Text("small")))
	got := must(c.Read(topic, Reading{From: Start, Count: 2}))(t, "reading")
	if !bytes.Equal(got[0].Value, noise[:1_000_000]) {
		t.Fail("%d bytes came back, not as they were sent", len(got[0].Value))
	}
	if string(got[1].Value) != "small" || got[1].Offset != 1 {
		t.Fail("at offset %d is %.50s", got[1].Offset, got[1])
	}
}

func fetch(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	start := time.UnixMilli(1_700_000_000_000)
	sent := numbered(0, 99)
	for at := range sent {
		sent[at].Time = start.Add(time.Duration(at) * time.Second)
	}
	t.Must(c.Produce(topic, Producing{}, sent...))
	same(t, "from the beginning", texts(sent), texts(must(c.Read(topic, Reading{From: Start, Count: 100}))(t, "from the beginning")))
	same(t, "from offset 40", texts(sent[40:]), texts(must(c.Read(topic, Reading{From: 40, Count: 60}))(t, "from offset 40")))
	for _, ask := range []struct{ at, offset int64 }{
		{Start, 0}, {End, 100}, {start.UnixMilli(), 0}, {start.UnixMilli() + 41_001, 42}, {start.UnixMilli() + 42_000, 42},
	} {
		if offset := must(c.OffsetAt(topic, ask.at))(t, "offsets"); offset != ask.offset {
			t.Fail("at %d is offset %d instead of %d", ask.at, offset, ask.offset)
		}
	}
	same(t, "from a timestamp", texts(sent[42:]), texts(must(c.Read(topic, Reading{From: 42, Count: 58}))(t, "from a timestamp")))

	// At the end: whenever the consumer finds the end, it gets no earlier records.
	read := make(chan func(*T, string) []Record)
	go func() { read <- must(c.Read(topic, Reading{From: End, Count: 1})) }()
	for number := 0; ; number++ {
		select {
		case result := <-read:
			if got := result(t, "from the end"); !bytes.HasPrefix(got[0].Value, []byte("later")) {
				t.Fail("from the end comes %s", got[0])
			}
			return
		case <-time.After(100 * time.Millisecond):
			t.Must(c.Produce(topic, Producing{}, Text(fmt.Sprint("later ", number))))
		}
	}
}

func outOfRange(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	t.Must(c.Produce(topic, Producing{}, numbered(1, 3)...))
	got := must(c.Read(topic, Reading{From: 99, Reset: true, Count: 3}))(t, "with a reset")
	same(t, "with a reset", []string{"1", "2", "3"}, texts(got))
	_, err := c.Read(topic, Reading{From: 99, Fails: true, Count: 1})
	t.refused(c, "reading offset 99 of 3", err, offsetOutOfRange)
}

func everyPartition(value string) (records []Record) {
	for partition := range int32(4) {
		records = append(records, Record{Partition: partition, Value: []byte(value)})
	}
	return
}

var all = []int32{0, 1, 2, 3}

func share(t *T, c Client, how Joining) {
	topic, group := t.create(c, "share", 4), t.Topic("share")
	one := must(c.Join(group, topic, how))(t, "joining")
	same(t, "the only member's partitions", all, one.owns(t, 4))
	t.Must(c.Produce(topic, Producing{}, everyPartition("first")...))
	one.reads(t, 4)

	two := must(c.Join(group, topic, how))(t, "joining second")
	two.owns(t, 2)
	same(t, "both members' partitions", all, sorted(append(one.owns(t, 2), two.owns(t, 2)...)))
	t.Must(one.Leave())
	same(t, "the rest's partitions", all, two.owns(t, 4))

	t.Must(c.Produce(topic, Producing{}, everyPartition("last")...))
	two.wait(t, "the last record of each partition", func() bool {
		last := map[int32]bool{}
		for _, record := range two.records {
			if string(record.Value) == "last" {
				last[record.Partition] = true
			}
		}
		return len(last) == 4
	})
	t.Must(two.Leave())
}

func resume(t *T, c Client, how Joining) {
	topic, group := t.create(c, "resume", 1), t.Topic("resume")
	t.Must(c.Produce(topic, Producing{}, numbered(1, 20)...))
	first := must(c.Join(group, topic, how))(t, "joining")
	got := first.reads(t, 20)
	same(t, "everything", texts(numbered(1, 20)), texts(got))
	t.Must(first.Commit(got[11]))
	t.Must(first.Leave())

	second := must(c.Join(group, topic, how))(t, "joining again")
	got = second.reads(t, 8)
	same(t, "the rest", texts(numbered(13, 20)), texts(got))
	t.Must(c.Produce(topic, Producing{}, numbered(21, 25)...))
	got = second.reads(t, 13)
	same(t, "what came later", texts(numbered(13, 25)), texts(got))
	t.Must(second.Commit(got[12]))
	t.Must(second.Leave())

	other := must(c.Join(t.Topic("resume-other"), topic, how))(t, "joining another group")
	same(t, "another group", texts(numbered(1, 25)), texts(other.reads(t, 25)))
	t.Must(other.Leave())
	if offset := must(c.Committed(group, topic))(t, "the committed offset"); offset != 25 {
		t.Fail("offset %d is committed instead of 25", offset)
	}
}

func static(t *T, c Client) {
	topic, group := t.create(c, "topic", 4), t.Topic("group")
	one := must(c.Join(group, topic, Joining{Instance: "one"}))(t, "joining")
	one.owns(t, 4)
	two := must(c.Join(group, topic, Joining{Instance: "two"}))(t, "joining second")
	two.owns(t, 2)
	had, others := one.owns(t, 2), two.owns(t, 2)
	changes := two.changes
	t.Must(one.Leave())

	again := must(c.Join(group, topic, Joining{Instance: "one"}))(t, "coming back")
	same(t, "the partitions of before", had, again.owns(t, 2))
	// Once it has read something, it has sent its first heartbeats, and so has the other.
	t.Must(c.Produce(topic, Producing{}, everyPartition("x")...))
	again.reads(t, 2)
	two.reads(t, 2)
	same(t, "the other's partitions", others, two.owns(t, 2))
	if two.changes != changes {
		t.Fail("the other member's partitions changed %d times", two.changes-changes)
	}
	if _, members, err := c.DescribeGroup(group); err != nil || members != 2 {
		t.Fail("the group has %d members, %v", members, err)
	}
	t.Must(again.Leave())
	t.Must(two.Leave())
}

func cooperative(t *T, c Client) {
	topic, group := t.create(c, "topic", 4), t.Topic("group")
	one := must(c.Join(group, topic, Joining{Cooperative: true}))(t, "joining")
	one.owns(t, 4)
	two := must(c.Join(group, topic, Joining{Cooperative: true}))(t, "joining second")
	moved, kept := two.owns(t, 2), one.owns(t, 2)
	same(t, "both members' partitions", all, sorted(append(kept, moved...)))
	same(t, "the partitions taken from the first", moved, sorted(one.lost))
	t.Must(one.Leave())
	same(t, "the rest's partitions", all, two.owns(t, 4))
	same(t, "the partitions taken from the second", nil, two.lost)
	t.Must(two.Leave())
}

func newProtocol(t *T, c Client) {
	share(t, c, Joining{NewProtocol: true})
	resume(t, c, Joining{NewProtocol: true})
}

func idempotent(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	sent := numbered(1, 5000)
	t.Must(c.Produce(topic, Producing{Idempotent: true, BatchRecords: 50}, sent...))
	same(t, "records", texts(sent), texts(must(c.Read(topic, Reading{From: Start, Count: len(sent)}))(t, "reading")))
	if end := must(c.OffsetAt(topic, End))(t, "the end"); end != int64(len(sent)) {
		t.Fail("the log ends at %d", end)
	}
}

func transactions(t *T, c Client) {
	topic, id := t.create(c, "topic", 1), t.Topic("id")
	t.Must(c.Produce(topic, Producing{TransactionalID: id}, numbered(1, 5)...))
	t.Must(c.Produce(topic, Producing{TransactionalID: id, Abort: true}, numbered(6, 10)...))
	t.Must(c.Produce(topic, Producing{TransactionalID: id}, append(numbered(11, 15), Text("end"))...))
	committed := must(c.Read(topic, Reading{From: Start, Until: "end", Committed: true}))(t, "read_committed")
	same(t, "read_committed", append(texts(append(numbered(1, 5), numbered(11, 15)...)), "end"), texts(committed))
	everything := must(c.Read(topic, Reading{From: Start, Until: "end"}))(t, "read_uncommitted")
	same(t, "read_uncommitted", append(texts(numbered(1, 15)), "end"), texts(everything))

	from, to, group := t.create(c, "from", 1), t.create(c, "to", 1), t.Topic("group")
	t.Must(c.Produce(from, Producing{}, numbered(1, 7)...))
	t.Must(c.ReadProcessWrite(t.Topic("process"), group, from, to, 7, false))
	if offset := must(c.Committed(group, from))(t, "offsets"); offset != -1 {
		t.Fail("an aborted transaction leaves offset %d", offset)
	}
	t.Must(c.ReadProcessWrite(t.Topic("process"), group, from, to, 7, true))
	// The markers of a transaction are written after the answer to its commit.
	for limit := time.Now().Add(Limit); must(c.Committed(group, from))(t, "offsets") != 7; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fail("a transaction does not leave offset 7")
		}
	}
	t.Must(c.Produce(to, Producing{}, Text("end")))
	got := must(c.Read(to, Reading{From: Start, Until: "end", Committed: true}))(t, "what was written")
	same(t, "what was written", append(texts(numbered(1, 7)), "end"), texts(got))
}

func configs(t *T, c Client) {
	topic := t.Topic("topic")
	t.Must(c.CreateTopic(topic, 1, map[string]string{"retention.bytes": "1000000"}))
	t.leaders(c, topic, 1)
	// A change may reach a broker after the answer.
	expect := func(want map[string]string) {
		for limit := time.Now().Add(Limit); ; time.Sleep(20 * time.Millisecond) {
			all, got := must(c.Configs(topic))(t, "describing"), map[string]string{}
			for key := range want {
				got[key] = all[key]
			}
			if maps.Equal(want, got) {
				return
			}
			if time.Now().After(limit) {
				t.Fail("the settings are %v instead of %v", got, want)
			}
		}
	}
	expect(map[string]string{"retention.bytes": "1000000", "retention.ms": "604800000", "max.message.bytes": "1048588"})
	t.Must(c.AlterConfigs(topic, map[string]string{"retention.bytes": "1000000", "retention.ms": "3600000"}))
	expect(map[string]string{"retention.bytes": "1000000", "retention.ms": "3600000", "max.message.bytes": "1048588"})
	t.refused(c, "a setting that is not a number", c.AlterConfigs(topic, map[string]string{"retention.ms": "soon"}), invalidConfig)
	expect(map[string]string{"retention.ms": "3600000"})
	_, err := c.Configs(t.Topic("unknown"))
	t.refused(c, "describing a topic that there is not", err, unknownTopic)
}

func deleteRecords(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	t.Must(c.Produce(topic, Producing{}, numbered(0, 9)...))
	t.Must(c.DeleteRecords(topic, 4))
	if start := must(c.OffsetAt(topic, Start))(t, "the start"); start != 4 {
		t.Fail("the log starts at %d instead of 4", start)
	}
	got := must(c.Read(topic, Reading{From: Start, Count: 6}))(t, "reading")
	same(t, "what is left", texts(numbered(4, 9)), texts(got))
	t.refused(c, "deleting beyond the end", c.DeleteRecords(topic, 99), offsetOutOfRange)
}

func groups(t *T, c Client) {
	topic, group := t.create(c, "topic", 1), t.Topic("group")
	t.Must(c.Produce(topic, Producing{}, numbered(1, 5)...))
	member := must(c.Join(group, topic, Joining{}))(t, "joining")
	got := member.reads(t, 5)
	expect := func(state string, members int) {
		if is, has, err := c.DescribeGroup(group); err != nil || is != state || has != members {
			t.Fail("the group is %q with %d members instead of %q with %d, %v", is, has, state, members, err)
		}
	}
	expect("Stable", 1)
	t.Must(member.Commit(got[2]))
	t.Must(member.Leave())
	expect("Empty", 0)
	if !slices.Contains(must(c.Groups())(t, "listing"), group) {
		t.Fail("the group is not listed")
	}
	if offset := must(c.Committed(group, topic))(t, "its offset"); offset != 3 {
		t.Fail("offset %d is committed instead of 3", offset)
	}
	t.Must(c.AlterOffset(group, topic, 1))
	if offset := must(c.Committed(group, topic))(t, "its offset"); offset != 1 {
		t.Fail("offset %d is committed instead of 1", offset)
	}
	t.Must(c.DeleteGroup(group))
	if slices.Contains(must(c.Groups())(t, "listing"), group) {
		t.Fail("the group is listed after it was deleted")
	}
	t.refused(c, "deleting it again", c.DeleteGroup(group), 69)
}

func acls(t *T, c Client) {
	one := ACL{OfTopic, t.Topic("topic"), Read, Allow}
	if _, err := c.ACLs(one.Name); !errors.Is(err, errors.ErrUnsupported) {
		t.refused(c, "DescribeAcls", err, securityDisabled)
	}
	t.refused(c, "CreateAcls", c.CreateACL(one), securityDisabled)
	_, err := c.DeleteACL(one)
	t.refused(c, "DeleteAcls", err, securityDisabled)
}

// aclsEnforced: Bootstrap is of a super user, who gives rights to another user and takes them away.
func aclsEnforced(t *T, c Client) {
	topic, group, user := t.create(c, "topic", 1), t.Topic("group"), withLogin("ACL")
	t.Must(c.Produce(topic, Producing{}, Text("1")))
	// Some libraries are idempotent with other acks. Then they are refused before they write, with another code.
	write := func() error { return c.Produce(topic, Producing{Access: user, Acks: LeaderAcks}, Text("2")) }
	read := func() error {
		_, err := c.Read(topic, Reading{Access: user, From: Start, Count: 1})
		return err
	}
	of := func(resource int8, name string, operation, permission int8) ACL {
		acl := ACL{resource, name, operation, permission}
		t.Must(c.CreateACL(acl))
		return acl
	}
	remove := func(acl ACL) {
		if deleted := must(c.DeleteACL(acl))(t, "deleting an ACL"); deleted != 1 {
			t.Fail("%d ACLs are deleted", deleted)
		}
	}

	hidden := int16(topicDenied)
	if _, blind := c.(TopicBlind); blind {
		hidden = unknownTopic
	}
	t.refused(c, "writing without any right", write(), hidden)
	made := []ACL{of(OfTopic, topic, Describe, Allow)}
	t.refused(c, "reading without the right", read(), topicDenied)
	made = append(made, of(OfTopic, topic, Read, Allow))
	t.Must(read())

	if _, blind := c.(GroupBlind); !blind {
		outside := must(c.Join(group, topic, Joining{Access: user}))(t, "joining")
		t.refused(c, "joining without the right", outside.fails(t), groupDenied)
		_ = outside.Leave()
	}
	of(OfGroup, group, Read, Allow)
	member := must(c.Join(group, topic, Joining{Access: user}))(t, "joining")
	t.Must(member.Commit(member.reads(t, 1)[0]))
	t.Must(member.Leave())

	t.refused(c, "writing without the right", write(), topicDenied)
	allowed := of(OfTopic, topic, Write, Allow)
	t.Must(write())
	denied := of(OfTopic, topic, Write, Deny)
	t.refused(c, "writing with a denial", write(), topicDenied)
	same(t, "the topic's ACLs", inOrder(append(made, allowed, denied)), inOrder(must(c.ACLs(topic))(t, "describing ACLs")))
	remove(denied)
	t.Must(write())
	remove(allowed)
	t.refused(c, "writing when the right is gone", write(), topicDenied)
}

func inOrder(acls []ACL) []ACL {
	slices.SortFunc(acls, func(a, b ACL) int {
		return cmp.Or(cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Permission, b.Permission))
	})
	return acls
}

func certificate(name string) string { return os.Getenv("CERTIFICATES") + "/" + name + ".pem" }

// withLogin is the access of a user with TLS: SASL or ACL, as in the names of the environment.
func withLogin(who string) Access {
	return Access{
		Listener: os.Getenv("SASL_TLS_BOOTSTRAP"), Authority: certificate("ca"),
		Mechanism: "SCRAM-SHA-256", User: os.Getenv(who + "_USER"), Password: os.Getenv(who + "_PASSWORD"),
	}
}

func withTLS(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	plain := Access{Listener: os.Getenv("TLS_BOOTSTRAP"), Authority: certificate("ca")}
	// Only as `certified`, the name by a rule for that of the certificate, the client is a super user.
	certified := plain
	certified.Listener = os.Getenv("CERTIFIED_BOOTSTRAP")
	without := certified
	certified.Certificate, certified.Key = certificate("client"), certificate("client-key")
	var sent []string
	for _, access := range []Access{plain, certified, withLogin("SASL")} {
		t.Must(c.Produce(topic, Producing{Access: access}, Text(access.Listener)))
		sent = append(sent, access.Listener)
		got := must(c.Read(topic, Reading{Access: access, From: Start, Count: len(sent)}))(t, access.Protocol())
		same(t, access.Protocol(), sent, texts(got))
	}
	other := plain
	other.Authority = certificate("other-ca")
	for what, access := range map[string]Access{"a broker of an unknown authority": other, "no certificate": without} {
		if _, err := c.Read(topic, Reading{Access: access, From: Start, Count: 1}); !c.Untrusted(err) {
			t.Fail("with %s: %v", what, err)
		}
	}
}

func sasl(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	var sent []string
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		login := Access{
			Listener: os.Getenv("SASL_BOOTSTRAP"), Mechanism: mechanism, User: os.Getenv("SASL_USER"), Password: os.Getenv("SASL_PASSWORD"),
		}
		t.Must(c.Produce(topic, Producing{Access: login}, Text(mechanism)))
		sent = append(sent, mechanism)
		got := must(c.Read(topic, Reading{Access: login, From: Start, Count: len(sent)}))(t, mechanism)
		same(t, mechanism, sent, texts(got))

		login.Password = "wrong"
		_, err := c.Read(topic, Reading{Access: login, From: Start, Count: 1})
		t.refused(c, mechanism+" with a wrong password", err, loginFailed)
	}
}

func withToken(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	with := func(name string) Access {
		token := must(os.ReadFile(os.Getenv("CERTIFICATES")+"/"+name+".jwt"))(t, name)
		return Access{
			Listener: os.Getenv("SASL_TLS_BOOTSTRAP"), Authority: certificate("ca"), Mechanism: "OAUTHBEARER", Token: string(token),
		}
	}
	t.Must(c.Produce(topic, Producing{Access: with("good")}, Text("written")))
	got := must(c.Read(topic, Reading{Access: with("good"), From: Start, Count: 1}))(t, "reading")
	same(t, "records", []string{"written"}, texts(got))
	_, blind := c.(TokenBlind)
	for _, wrong := range []string{"expired", "audience", "stranger"} {
		_, err := c.Read(topic, Reading{Access: with(wrong), From: Start, Count: 1})
		// Some libraries return the broker's first answer, and others the error after it.
		if err == nil || !blind && c.Code(err) != loginFailed && !strings.Contains(err.Error(), "invalid_token") {
			t.Fail("with the token %s: %v", wrong, err)
		}
	}
}

const before = 2000

func beforeTheRestart(t *T, c Client) {
	topic := t.create(c, "topic", 1)
	t.Must(c.Produce(topic, Producing{}, numbered(1, before)...))
	member := must(c.Join(t.Topic("group"), topic, Joining{}))(t, "joining")
	t.Must(member.Commit(member.reads(t, 7)[6]))
	t.Must(member.Leave())
}

func afterTheRestart(t *T, c Client) {
	topic := t.Topic("topic")
	got := must(c.Read(topic, Reading{From: Start, Count: before}))(t, "reading")
	same(t, "records", texts(numbered(1, before)), texts(got))
	t.Must(c.Produce(topic, Producing{}, Text("later")))
	member := must(c.Join(t.Topic("group"), topic, Joining{}))(t, "joining")
	rest := member.reads(t, before-7+1)
	same(t, "what the group had left", append(texts(numbered(8, before)), "later"), texts(rest))
	t.Must(member.Leave())
}
