// Package rows plays the matrix's rows (compat/rows.tsv) with a client library for Go. rows.go has the steps and the
// expected results of each row; the program of each client has the calls of its library.
package rows

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limit is the longest wait: generous, for busy machines.
const Limit = 90 * time.Second

var (
	Bootstrap = os.Getenv("BOOTSTRAP")
	prefix    = os.Getenv("PREFIX")
)

// Client is a library as its users call it. Errors are the library's own; Code returns Kafka's error code of one.
type Client interface {
	// Lacks names the rows that the library cannot play, with the reason.
	Lacks() map[string]string
	Code(err error) int16
	Codecs() []string // those of Codecs that it can send

	Metadata() (Cluster, error)
	CreateTopic(topic string, partitions int, configs map[string]string) error
	DeleteTopic(topic string) error
	AddPartitions(topic string, total int) error

	Produce(topic string, how Producing, records ...Record) error
	Read(topic string, what Reading) ([]Record, error)
	// OffsetAt is ListOffsets for a timestamp in ms, for Start or for End.
	OffsetAt(topic string, at int64) (int64, error)

	Join(group, topic string, how Joining) (*Member, error)

	// ReadProcessWrite reads every record of a topic in a group and produces them to another topic, in one transaction
	// with their offsets. The transaction commits or aborts.
	ReadProcessWrite(transactionalID, group, from, to string, records int, commit bool) error

	Configs(topic string) (map[string]string, error)
	AlterConfigs(topic string, configs map[string]string) error
	DeleteRecords(topic string, before int64) error

	Groups() ([]string, error)
	DescribeGroup(group string) (state string, members int, err error)
	DeleteGroup(group string) error
	// Committed is the group's offset in partition 0 of the topic, -1 if there is none.
	Committed(group, topic string) (int64, error)
	AlterOffset(group, topic string, offset int64) error

	// ACLs are those of the topic with this very name; errors.ErrUnsupported if the library hides the broker's error.
	ACLs(topic string) ([]ACL, error)
	CreateACL(ACL) error
	DeleteACL(ACL) (deleted int, err error)

	// Untrusted is the error for a broker whose certificate is of an unknown authority, or that wants one of the client.
	Untrusted(err error) bool
}

// EmptyBlind is a library whose consumer returns null for an empty key or value.
type EmptyBlind interface{ ReadsEmptyAsNull() }

// TopicBlind is a library for which a topic that it may not describe is unknown, because it lists all topics.
type TopicBlind interface{ ListsAllTopics() }

// GroupBlind is a library whose member never has an error for a group that it may not join: it tries again for ever.
type GroupBlind interface{ JoinsForEver() }

// TokenBlind is a library whose error for a token that the broker refused does not tell the reason.
type TokenBlind interface{ HidesRefusedTokens() }

var Codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

const (
	Start int64 = -2
	End   int64 = -1
)

type Cluster struct {
	Brokers    []int32
	Controller int32
	Leaders    map[string][]int32 // of each topic, by partition
}

type Record struct {
	Partition  int32
	Offset     int64
	Key, Value []byte // nil is null
	Headers    []Header
	Time       time.Time
}

type Header struct {
	Key   string
	Value []byte
}

func Text(value string) Record { return Record{Value: []byte(value)} }

func (r Record) String() string {
	show := func(bytes []byte) string {
		if bytes == nil {
			return "null"
		}
		return fmt.Sprintf("%q", bytes)
	}
	text := fmt.Sprintf("[%d] %s=%s", r.Partition, show(r.Key), show(r.Value))
	for _, header := range r.Headers {
		text += " " + header.Key + ":" + show(header.Value)
	}
	if !r.Time.IsZero() {
		text += fmt.Sprintf(" @%d", r.Time.UnixMilli())
	}
	return text
}

// Access is how a client gets in at another listener than that of Bootstrap, which the zero value means.
type Access struct {
	Listener                  string // its address
	Mechanism, User, Password string // of SASL; without a mechanism there is no login
	Authority                 string // the file of the authority that the client trusts; without it there is no TLS
	Certificate, Key          string // the files of the client's own certificate
	Token                     string // the token that OAUTHBEARER sends
}

func (a Access) Server() string {
	if a == (Access{}) {
		return Bootstrap
	}
	return a.Listener
}

// Protocol is Kafka's security.protocol.
func (a Access) Protocol() string {
	switch {
	case a.Mechanism == "" && a.Authority == "":
		return "PLAINTEXT"
	case a.Mechanism == "":
		return "SSL"
	case a.Authority == "":
		return "SASL_PLAINTEXT"
	}
	return "SASL_SSL"
}

// TLS is nil for a connection without TLS.
func (a Access) TLS() (*tls.Config, error) {
	if a.Authority == "" {
		return nil, nil
	}
	authority, err := os.ReadFile(a.Authority)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(authority)
	if a.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(a.Certificate, a.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// OfCertificate says whether the error of Go's own TLS is about a certificate.
func OfCertificate(err error) bool { return err != nil && strings.Contains(err.Error(), "certificate") }

// ACL is about the user in ACL_USER. Its numbers are those of Kafka's protocol.
type ACL struct {
	Resource              int8
	Name                  string
	Operation, Permission int8
}

const (
	OfTopic, OfGroup      int8 = 2, 3
	Read, Write, Describe int8 = 3, 4, 8
	Deny, Allow           int8 = 2, 3
)

// Principal is whom an ACL is about.
func (ACL) Principal() string { return "User:" + os.Getenv("ACL_USER") }

type Producing struct {
	Access          Access
	Codec           string // "" is none
	Acks            int    // 0 is all, the default; or NoAcks or LeaderAcks
	Idempotent      bool
	BatchRecords    int // most records of one batch, if it can be set; 0 leaves the library's default
	MaxBytes        int // the library's own limit; 0 leaves its default
	TransactionalID string
	Abort           bool // abort the transaction instead of committing it
}

const (
	NoAcks     = -1
	LeaderAcks = 1
)

type Reading struct {
	Access    Access
	From      int64 // an offset, Start or End
	Count     int   // ends after this many records …
	Until     string
	Committed bool // read_committed
	// Whether an offset out of range resets to the earliest; otherwise it is an error.
	Reset, Fails bool
}

// Enough says whether all requested records were read.
func (r Reading) Enough(got []Record) bool {
	if r.Count > 0 {
		return len(got) >= r.Count
	}
	return len(got) > 0 && string(got[len(got)-1].Value) == r.Until
}

type Joining struct {
	Access      Access
	Instance    string // group.instance.id
	Cooperative bool
	NewProtocol bool // KIP-848
}

// Member is a member of a group as its callbacks describe it. The client's program fills it, the rows read it.
type Member struct {
	Commit func(Record) error // synchronously: this record is done
	Leave  func() error       // closes it: a static member does not leave the group

	lock    sync.Mutex
	changed chan struct{}
	owned   []int32
	lost    []int32
	changes int
	records []Record
	failed  error
}

func NewMember() *Member { return &Member{changed: make(chan struct{}, 1)} }

func (m *Member) update(change func()) {
	m.lock.Lock()
	change()
	m.lock.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Assigned adds these partitions to those that the member has.
func (m *Member) Assigned(partitions ...int32) {
	m.update(func() {
		if len(partitions) > 0 {
			m.changes++
		}
		m.owned = append(m.owned, partitions...)
		slices.Sort(m.owned)
	})
}

func (m *Member) Revoked(partitions ...int32) {
	m.update(func() {
		if len(partitions) > 0 {
			m.changes++
		}
		m.lost = append(m.lost, partitions...)
		m.owned = slices.DeleteFunc(m.owned, func(p int32) bool { return slices.Contains(partitions, p) })
	})
}

func (m *Member) Got(record Record) { m.update(func() { m.records = append(m.records, record) }) }

func (m *Member) Failed(err error) { m.update(func() { m.failed = err }) }

// wait until the condition holds; it is checked whenever something happens.
func (m *Member) wait(t *T, what string, fact func() bool) {
	limit := time.After(Limit)
	for {
		m.lock.Lock()
		holds, failed := fact(), m.failed
		state := fmt.Sprintf("it has partitions %v and read %d records", m.owned, len(m.records))
		m.lock.Unlock()
		if holds {
			return
		}
		if failed != nil {
			t.Fail("waiting for %s: %v", what, failed)
		}
		select {
		case <-m.changed:
		case <-limit:
			t.Fail("waited in vain for %s: %s", what, state)
		}
	}
}

// fails waits until the member has an error, and returns it.
func (m *Member) fails(t *T) error {
	limit := time.After(Limit)
	for {
		m.lock.Lock()
		failed := m.failed
		m.lock.Unlock()
		if failed != nil {
			return failed
		}
		select {
		case <-m.changed:
		case <-limit:
			t.Fail("waited in vain for an error of the member")
		}
	}
}

func (m *Member) owns(t *T, count int) []int32 {
	m.wait(t, fmt.Sprintf("%d partitions", count), func() bool { return len(m.owned) == count })
	m.lock.Lock()
	defer m.lock.Unlock()
	return slices.Clone(m.owned)
}

func (m *Member) reads(t *T, count int) []Record {
	m.wait(t, fmt.Sprintf("%d records", count), func() bool { return len(m.records) >= count })
	m.lock.Lock()
	defer m.lock.Unlock()
	return slices.Clone(m.records)
}
