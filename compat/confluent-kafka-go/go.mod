module jackdaw/compat/confluent-kafka-go

go 1.26

require (
	github.com/confluentinc/confluent-kafka-go/v2 v2.11.1
	jackdaw/compat/rows v0.0.0
)

replace jackdaw/compat/rows => ../go
