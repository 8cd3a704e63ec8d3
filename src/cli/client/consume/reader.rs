//! The consumer of `jackdaw consume`. While it reads as a member of a group, a rebalance waits until the loop has
//! stored the offsets of the records that it printed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::cli::client::LastComplaint;
use crate::types::IgnorePoison;

pub type Reader = BaseConsumer<Events>;

/// The events of a consumer.
#[derive(Default)]
pub struct Events {
    complaint: LastComplaint,
    /// Whether the loop carries out rebalances. Otherwise, as when the consumer is closed, they happen at once.
    has_loop: AtomicBool,
    rebalance: Mutex<Option<Rebalance>>,
}

/// A change of the assignment that librdkafka waits for.
pub enum Rebalance {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

impl Events {
    pub fn new(complaint: LastComplaint) -> Events {
        Events { complaint, ..Events::default() }
    }

    /// From now on, the loop takes each rebalance after its poll and carries it out.
    pub fn begin_loop(&self) {
        self.has_loop.store(true, Ordering::SeqCst);
    }

    pub fn end_loop(&self) {
        self.has_loop.store(false, Ordering::SeqCst);
    }

    pub fn take_rebalance(&self) -> Option<Rebalance> {
        self.rebalance.lock().ignoring_poison().take()
    }
}

impl Rebalance {
    pub fn carry_out(&self, consumer: &Reader) -> KafkaResult<()> {
        let is_cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        match self {
            Rebalance::Assign(partitions) if is_cooperative => consumer.incremental_assign(partitions),
            Rebalance::Assign(partitions) => consumer.assign(partitions),
            Rebalance::Revoke(partitions) if is_cooperative => consumer.incremental_unassign(partitions),
            Rebalance::Revoke(_) => consumer.unassign(),
        }
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.complaint.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.error(error, reason);
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &Reader, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let rebalance = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Rebalance::Assign(partitions.clone())
        } else {
            Rebalance::Revoke(partitions.clone())
        };
        if self.has_loop.load(Ordering::SeqCst) {
            *self.rebalance.lock().ignoring_poison() = Some(rebalance);
        } else if let Err(error) = rebalance.carry_out(consumer) {
            self.complaint.note(&error.to_string());
        }
    }
}
