//! Kafka's error codes, and the only place where errors of our rooms become such codes.
//!
//! A room's error says what happened. Here each is mapped, exhaustively, to a code that a client can act
//! on: a retriable one if a later attempt may succeed, a definite one only if nothing was or will be
//! done.

use super::context::{NoGroup, NoTopic};
use crate::config::AlterError;
use crate::coordinator::TransactionError;
use crate::coordinator::group::GroupError;
use crate::kernel;
use crate::record::RecordError;
use crate::security::principal::Forbidden;
use crate::storage::{AppendError, LogError, StoreError, TopicError, Unavailable};
use crate::types::topic_name::IllegalName;

macro_rules! codes {
    ($($code:literal $variant:ident $name:literal)+) => {
        /// An error code of Apache Kafka 4.4.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $($variant = $code,)+
        }

        impl ErrorCode {
            /// All codes, ordered by number.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The name in Kafka's documentation.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    -1 UnknownServerError "UNKNOWN_SERVER_ERROR"
    0 None "NONE"
    1 OffsetOutOfRange "OFFSET_OUT_OF_RANGE"
    2 CorruptMessage "CORRUPT_MESSAGE"
    3 UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION"
    4 InvalidFetchSize "INVALID_FETCH_SIZE"
    5 LeaderNotAvailable "LEADER_NOT_AVAILABLE"
    6 NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER"
    7 RequestTimedOut "REQUEST_TIMED_OUT"
    8 BrokerNotAvailable "BROKER_NOT_AVAILABLE"
    9 ReplicaNotAvailable "REPLICA_NOT_AVAILABLE"
    10 MessageTooLarge "MESSAGE_TOO_LARGE"
    11 StaleControllerEpoch "STALE_CONTROLLER_EPOCH"
    12 OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE"
    13 NetworkException "NETWORK_EXCEPTION"
    14 CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS"
    15 CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE"
    16 NotCoordinator "NOT_COORDINATOR"
    17 InvalidTopicException "INVALID_TOPIC_EXCEPTION"
    18 RecordListTooLarge "RECORD_LIST_TOO_LARGE"
    19 NotEnoughReplicas "NOT_ENOUGH_REPLICAS"
    20 NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND"
    21 InvalidRequiredAcks "INVALID_REQUIRED_ACKS"
    22 IllegalGeneration "ILLEGAL_GENERATION"
    23 InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL"
    24 InvalidGroupId "INVALID_GROUP_ID"
    25 UnknownMemberId "UNKNOWN_MEMBER_ID"
    26 InvalidSessionTimeout "INVALID_SESSION_TIMEOUT"
    27 RebalanceInProgress "REBALANCE_IN_PROGRESS"
    28 InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE"
    29 TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED"
    30 GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED"
    31 ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED"
    32 InvalidTimestamp "INVALID_TIMESTAMP"
    33 UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM"
    34 IllegalSaslState "ILLEGAL_SASL_STATE"
    35 UnsupportedVersion "UNSUPPORTED_VERSION"
    36 TopicAlreadyExists "TOPIC_ALREADY_EXISTS"
    37 InvalidPartitions "INVALID_PARTITIONS"
    38 InvalidReplicationFactor "INVALID_REPLICATION_FACTOR"
    39 InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT"
    40 InvalidConfig "INVALID_CONFIG"
    41 NotController "NOT_CONTROLLER"
    42 InvalidRequest "INVALID_REQUEST"
    43 UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT"
    44 PolicyViolation "POLICY_VIOLATION"
    45 OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER"
    46 DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER"
    47 InvalidProducerEpoch "INVALID_PRODUCER_EPOCH"
    48 InvalidTxnState "INVALID_TXN_STATE"
    49 InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING"
    50 InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT"
    51 ConcurrentTransactions "CONCURRENT_TRANSACTIONS"
    52 TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED"
    53 TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
    54 SecurityDisabled "SECURITY_DISABLED"
    55 OperationNotAttempted "OPERATION_NOT_ATTEMPTED"
    56 KafkaStorageError "KAFKA_STORAGE_ERROR"
    57 LogDirNotFound "LOG_DIR_NOT_FOUND"
    58 SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED"
    59 UnknownProducerId "UNKNOWN_PRODUCER_ID"
    60 ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS"
    61 DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED"
    62 DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND"
    63 DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH"
    64 DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED"
    65 DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED"
    66 DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED"
    67 InvalidPrincipalType "INVALID_PRINCIPAL_TYPE"
    68 NonEmptyGroup "NON_EMPTY_GROUP"
    69 GroupIdNotFound "GROUP_ID_NOT_FOUND"
    70 FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND"
    71 InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH"
    72 ListenerNotFound "LISTENER_NOT_FOUND"
    73 TopicDeletionDisabled "TOPIC_DELETION_DISABLED"
    74 FencedLeaderEpoch "FENCED_LEADER_EPOCH"
    75 UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH"
    76 UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE"
    77 StaleBrokerEpoch "STALE_BROKER_EPOCH"
    78 OffsetNotAvailable "OFFSET_NOT_AVAILABLE"
    79 MemberIdRequired "MEMBER_ID_REQUIRED"
    80 PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE"
    81 GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED"
    82 FencedInstanceId "FENCED_INSTANCE_ID"
    83 EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE"
    84 ElectionNotNeeded "ELECTION_NOT_NEEDED"
    85 NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS"
    86 GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC"
    87 InvalidRecord "INVALID_RECORD"
    88 UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT"
    89 ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED"
    90 ProducerFenced "PRODUCER_FENCED"
    91 ResourceNotFound "RESOURCE_NOT_FOUND"
    92 DuplicateResource "DUPLICATE_RESOURCE"
    93 UnacceptableCredential "UNACCEPTABLE_CREDENTIAL"
    94 InconsistentVoterSet "INCONSISTENT_VOTER_SET"
    95 InvalidUpdateVersion "INVALID_UPDATE_VERSION"
    96 FeatureUpdateFailed "FEATURE_UPDATE_FAILED"
    97 PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE"
    98 SnapshotNotFound "SNAPSHOT_NOT_FOUND"
    99 PositionOutOfRange "POSITION_OUT_OF_RANGE"
    100 UnknownTopicId "UNKNOWN_TOPIC_ID"
    101 DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION"
    102 BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED"
    103 InconsistentTopicId "INCONSISTENT_TOPIC_ID"
    104 InconsistentClusterId "INCONSISTENT_CLUSTER_ID"
    105 TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND"
    106 FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR"
    107 IneligibleReplica "INELIGIBLE_REPLICA"
    108 NewLeaderElected "NEW_LEADER_ELECTED"
    109 OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE"
    110 FencedMemberEpoch "FENCED_MEMBER_EPOCH"
    111 UnreleasedInstanceId "UNRELEASED_INSTANCE_ID"
    112 UnsupportedAssignor "UNSUPPORTED_ASSIGNOR"
    113 StaleMemberEpoch "STALE_MEMBER_EPOCH"
    114 MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE"
    115 UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE"
    116 UnknownControllerId "UNKNOWN_CONTROLLER_ID"
    117 UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID"
    118 TelemetryTooLarge "TELEMETRY_TOO_LARGE"
    119 InvalidRegistration "INVALID_REGISTRATION"
    120 TransactionAbortable "TRANSACTION_ABORTABLE"
    121 InvalidRecordState "INVALID_RECORD_STATE"
    122 ShareSessionNotFound "SHARE_SESSION_NOT_FOUND"
    123 InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH"
    124 FencedStateEpoch "FENCED_STATE_EPOCH"
    125 InvalidVoterKey "INVALID_VOTER_KEY"
    126 DuplicateVoter "DUPLICATE_VOTER"
    127 VoterNotFound "VOTER_NOT_FOUND"
    128 InvalidRegularExpression "INVALID_REGULAR_EXPRESSION"
    129 RebootstrapRequired "REBOOTSTRAP_REQUIRED"
    130 StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY"
    131 StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH"
    132 StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED"
    133 ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED"
    134 GroupDeletionFailed "GROUP_DELETION_FAILED"
    135 StreamsTopologyDescriptionUpdateFailed "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED"
    136 ControllerIdNotRegistered "CONTROLLER_ID_NOT_REGISTERED"
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The code for a client that does not know PRODUCER_FENCED.
    #[must_use]
    pub fn before_fencing(self) -> ErrorCode {
        if self == ErrorCode::ProducerFenced { ErrorCode::InvalidProducerEpoch } else { self }
    }

    /// The code for a client that knows TRANSACTION_ABORTABLE.
    pub fn abortable(error: &TransactionError) -> ErrorCode {
        match error {
            TransactionError::Refused(kernel::Refusal::NotInTransaction) => ErrorCode::TransactionAbortable,
            other => other.into(),
        }
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> i16 {
        code.code()
    }
}

/// An error code, and a message for responses that have a field for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: Some(message.into()) }
    }
}

impl Refusal {
    /// Kafka's message for all requests that it cannot process.
    pub fn malformed() -> Refusal {
        Refusal::new(
            ErrorCode::InvalidRequest,
            "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.",
        )
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal { code, message: None }
    }
}

impl From<Forbidden> for ErrorCode {
    fn from(forbidden: Forbidden) -> ErrorCode {
        match forbidden {
            Forbidden::Topic => ErrorCode::TopicAuthorizationFailed,
            Forbidden::Group => ErrorCode::GroupAuthorizationFailed,
            Forbidden::TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            Forbidden::Cluster => ErrorCode::ClusterAuthorizationFailed,
            Forbidden::DelegationToken => ErrorCode::DelegationTokenAuthorizationFailed,
        }
    }
}

impl From<NoTopic> for ErrorCode {
    fn from(error: NoTopic) -> ErrorCode {
        match error {
            NoTopic::Forbidden(forbidden) => forbidden.into(),
            NoTopic::UnknownName => ErrorCode::UnknownTopicOrPartition,
            NoTopic::UnknownId => ErrorCode::UnknownTopicId,
        }
    }
}

impl From<NoGroup> for ErrorCode {
    fn from(error: NoGroup) -> ErrorCode {
        match error {
            NoGroup::Forbidden(forbidden) => forbidden.into(),
            NoGroup::NotCoordinator => ErrorCode::NotCoordinator,
        }
    }
}

impl From<Forbidden> for Refusal {
    fn from(forbidden: Forbidden) -> Refusal {
        let what = match forbidden {
            Forbidden::Topic => "Topic",
            Forbidden::Group => "Group",
            Forbidden::TransactionalId => "Transactional Id",
            Forbidden::Cluster => "Cluster",
            Forbidden::DelegationToken => "Delegation Token",
        };
        Refusal::new(forbidden.into(), format!("{what} authorization failed."))
    }
}

impl From<NoTopic> for Refusal {
    fn from(error: NoTopic) -> Refusal {
        match error {
            NoTopic::Forbidden(forbidden) => forbidden.into(),
            NoTopic::UnknownName | NoTopic::UnknownId => ErrorCode::from(error).into(),
        }
    }
}

impl From<&RecordError> for ErrorCode {
    fn from(error: &RecordError) -> ErrorCode {
        match error {
            RecordError::Corrupt(_) => ErrorCode::CorruptMessage,
            RecordError::NotOneBatch(_)
            | RecordError::OldFormat(_)
            | RecordError::Invalid(_)
            | RecordError::OpensTooLarge
            | RecordError::InvalidRecords { .. } => ErrorCode::InvalidRecord,
            RecordError::InvalidTimestamps { .. } => ErrorCode::InvalidTimestamp,
            RecordError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            RecordError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            RecordError::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
        }
    }
}

impl From<&RecordError> for Refusal {
    fn from(error: &RecordError) -> Refusal {
        Refusal::new(ErrorCode::from(error), error.to_string())
    }
}

impl From<IllegalName> for Refusal {
    fn from(IllegalName(why): IllegalName) -> Refusal {
        Refusal::new(ErrorCode::InvalidTopicException, why)
    }
}

impl From<AlterError> for Refusal {
    fn from(error: AlterError) -> Refusal {
        match error {
            AlterError::Request(why) => Refusal::new(ErrorCode::InvalidRequest, why),
            AlterError::Config(why) => Refusal::new(ErrorCode::InvalidConfig, why),
            AlterError::TooLarge => {
                Refusal::new(ErrorCode::PolicyViolation, "a resource keeps 1 MiB of settings at most")
            }
        }
    }
}

impl From<&kernel::Refusal> for ErrorCode {
    fn from(refusal: &kernel::Refusal) -> ErrorCode {
        match refusal {
            // The handler found it before: it was deleted in the meantime.
            kernel::Refusal::UnknownTopic | kernel::Refusal::UnknownPartition => {
                ErrorCode::UnknownTopicOrPartition
            }
            kernel::Refusal::TopicExists => ErrorCode::TopicAlreadyExists,
            kernel::Refusal::NameCollides { .. } => ErrorCode::InvalidTopicException,
            // The leader changed after the batch was accepted.
            kernel::Refusal::NotLeader => ErrorCode::NotLeaderOrFollower,
            kernel::Refusal::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            // Rule P9: no code about leadership, or the client would retry for ever.
            kernel::Refusal::StaleProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            kernel::Refusal::UnknownTransactionalId => ErrorCode::InvalidProducerIdMapping,
            kernel::Refusal::ProducerFenced => ErrorCode::ProducerFenced,
            kernel::Refusal::InvalidTransactionState | kernel::Refusal::NotInTransaction => {
                ErrorCode::InvalidTxnState
            }
            kernel::Refusal::CoordinatorFenced => ErrorCode::TransactionCoordinatorFenced,
            // Nothing was written, and a later attempt may succeed. Clients understand this code in that
            // sense.
            kernel::Refusal::TooManyProducers | kernel::Refusal::TooManyOpenTransactions => {
                ErrorCode::NotEnoughReplicas
            }
            kernel::Refusal::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
            kernel::Refusal::OffsetsExhausted => ErrorCode::InvalidRecord,
            kernel::Refusal::NotTheNextPartition { .. } => ErrorCode::InvalidPartitions,
            kernel::Refusal::NoReplicaRuns => ErrorCode::InvalidReplicaAssignment,
            kernel::Refusal::PreferredNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
            kernel::Refusal::NoEligibleLeader => ErrorCode::EligibleLeadersNotAvailable,
            kernel::Refusal::UnknownToken => ErrorCode::DelegationTokenNotFound,
            kernel::Refusal::NotYet => ErrorCode::UnsupportedVersion,
            // Only internal commands are refused this way.
            kernel::Refusal::OtherExtents
            | kernel::Refusal::OtherVersion
            | kernel::Refusal::OtherIncarnation
            | kernel::Refusal::BrokerRuns
            | kernel::Refusal::Malformed => ErrorCode::UnknownServerError,
        }
    }
}

impl From<&AppendError> for ErrorCode {
    fn from(error: &AppendError) -> ErrorCode {
        match error {
            AppendError::Refused(refusal) => refusal.into(),
            AppendError::NotServing => ErrorCode::UnknownTopicOrPartition,
            AppendError::Damaged => ErrorCode::KafkaStorageError,
            AppendError::Unavailable(why) => (*why).into(),
        }
    }
}

impl From<Unavailable> for ErrorCode {
    fn from(why: Unavailable) -> ErrorCode {
        match why {
            Unavailable::Full | Unavailable::Unwritable(_) | Unavailable::Poisoned => {
                ErrorCode::KafkaStorageError
            }
            // It is unknown whether the change was stored. Clients that must not write a batch twice do not retry
            // after this code.
            Unavailable::Stopped => ErrorCode::RequestTimedOut,
        }
    }
}

/// Messages for refused writes that are not the client's fault.
const FULL: &str = "The broker's disk is full: it accepts no records until there is room. Commits, deletions of records and topics, and shorter retention are accepted.";
const TOO_MANY_PRODUCERS: &str =
    "The broker's memory for idempotent producers (jackdaw.producers.max.bytes) is used up by recent ones.";
const TOO_MANY_OPEN: &str = "The broker's memory for producers with an open transaction (half of jackdaw.producers.max.bytes) is used up until some of them end.";
const POISONED: &str =
    "A write or a sync of the broker's disk failed: it accepts no writes until it is restarted.";
const DAMAGED: &str = "The files of this partition are damaged: it is out of service.";

/// The message of a refused change; `what` could not be written.
fn message_of(why: Unavailable, what: &str) -> Option<String> {
    match why {
        Unavailable::Full => Some(FULL.to_owned()),
        Unavailable::Unwritable(why) => Some(format!("The broker cannot write {what}: {why}.")),
        Unavailable::Poisoned => Some(POISONED.to_owned()),
        Unavailable::Stopped => None,
    }
}

impl From<&AppendError> for Refusal {
    fn from(error: &AppendError) -> Refusal {
        let message = match error {
            AppendError::Refused(kernel::Refusal::TooManyProducers) => Some(TOO_MANY_PRODUCERS.to_owned()),
            AppendError::Refused(kernel::Refusal::TooManyOpenTransactions) => Some(TOO_MANY_OPEN.to_owned()),
            AppendError::Refused(_) | AppendError::NotServing => None,
            AppendError::Damaged => Some(DAMAGED.to_owned()),
            AppendError::Unavailable(why) => message_of(*why, "the log of this partition"),
        };
        Refusal { code: error.into(), message }
    }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Refusal {
        let message = match error {
            StoreError::Refused(_) => None,
            StoreError::Unavailable(why) => message_of(*why, "its journal"),
        };
        Refusal { code: error.into(), message }
    }
}

impl From<&TopicError> for Refusal {
    fn from(error: &TopicError) -> Refusal {
        match error {
            TopicError::Exists | TopicError::NameCollides { .. } | TopicError::Unknown => {
                ErrorCode::from(error).into()
            }
            TopicError::Store(error) => error.into(),
        }
    }
}

impl From<&LogError> for ErrorCode {
    fn from(error: &LogError) -> ErrorCode {
        match error {
            LogError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            LogError::NotServing => ErrorCode::UnknownTopicOrPartition,
            LogError::Damaged => ErrorCode::KafkaStorageError,
            // A stopping broker no longer leads.
            LogError::Unavailable(Unavailable::Stopped) => ErrorCode::NotLeaderOrFollower,
            LogError::Unavailable(why) => (*why).into(),
        }
    }
}

impl From<&LogError> for Refusal {
    fn from(error: &LogError) -> Refusal {
        ErrorCode::from(error).into()
    }
}

impl From<&StoreError> for ErrorCode {
    fn from(error: &StoreError) -> ErrorCode {
        match error {
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::Unavailable(why) => (*why).into(),
        }
    }
}

impl From<&TopicError> for ErrorCode {
    fn from(error: &TopicError) -> ErrorCode {
        match error {
            TopicError::Exists => ErrorCode::TopicAlreadyExists,
            TopicError::NameCollides { .. } => ErrorCode::InvalidTopicException,
            TopicError::Unknown => ErrorCode::UnknownTopicOrPartition,
            TopicError::Store(error) => error.into(),
        }
    }
}

impl From<GroupError> for ErrorCode {
    fn from(error: GroupError) -> ErrorCode {
        match error {
            GroupError::NotCoordinator => ErrorCode::NotCoordinator,
            GroupError::NoGroupId => ErrorCode::InvalidGroupId,
            GroupError::NoSuchGroup => ErrorCode::GroupIdNotFound,
            GroupError::UnknownMember => ErrorCode::UnknownMemberId,
            GroupError::FencedInstance => ErrorCode::FencedInstanceId,
            GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
            GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            GroupError::SessionTimeoutOutOfRange => ErrorCode::InvalidSessionTimeout,
            GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
            GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
            GroupError::MemberTooLarge => ErrorCode::InvalidRequest,
            GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            GroupError::NotEmpty => ErrorCode::NonEmptyGroup,
            GroupError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            // Retriable: later there may be memory, or the journal may work again.
            GroupError::NoRoom | GroupError::NotStored => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl From<&TransactionError> for ErrorCode {
    fn from(error: &TransactionError) -> ErrorCode {
        match error {
            TransactionError::NotCoordinator => ErrorCode::NotCoordinator,
            TransactionError::NoId => ErrorCode::InvalidRequest,
            TransactionError::TimeoutOutOfRange => ErrorCode::InvalidTransactionTimeout,
            TransactionError::NoSuchId => ErrorCode::TransactionalIdNotFound,
            TransactionError::Aborted => ErrorCode::ConcurrentTransactions,
            TransactionError::Group(error) => (*error).into(),
            TransactionError::Refused(refusal) => refusal.into(),
            // Retriable: later there may be memory, or the journal may work again.
            TransactionError::NoRoom | TransactionError::NotStored => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Failure;
    use crate::types::ProducerEpoch;

    #[test]
    fn a_refusal_for_which_the_broker_is_to_blame_says_why_and_can_be_tried_again() {
        let denied = Unavailable::Unwritable(Failure::Denied);
        let all = [Unavailable::Full, denied, Unavailable::Poisoned];
        let stores = all.map(|why| Refusal::from(&StoreError::from(why)));
        let appends = all.map(|why| Refusal::from(&AppendError::from(why)));
        let damaged = Refusal::from(&AppendError::Damaged);
        for refusal in stores.into_iter().chain(appends).chain([damaged]) {
            assert_eq!(refusal.code, ErrorCode::KafkaStorageError);
            assert!(refusal.message.is_some());
        }
        let message = Refusal::from(&AppendError::from(denied)).message;
        assert_eq!(message.unwrap(), "The broker cannot write the log of this partition: access is denied.");
    }

    /// Whether a client can get this refusal of a transaction. A new one has to be in the list of the test below, too.
    fn is_of_transactions(refusal: &kernel::Refusal) -> bool {
        use kernel::Refusal as R;
        match refusal {
            R::UnknownTopic
            | R::UnknownPartition
            | R::OutOfOrderSequence { .. }
            | R::StaleProducerEpoch { .. }
            | R::UnknownTransactionalId
            | R::ProducerFenced
            | R::InvalidTransactionState
            | R::NotInTransaction
            | R::CoordinatorFenced
            | R::TooManyProducers
            | R::TooManyOpenTransactions
            | R::OffsetsExhausted
            | R::NotLeader
            | R::NotYet => true,
            // Of other commands.
            R::TopicExists
            | R::NameCollides { .. }
            | R::OffsetOutOfRange
            | R::OtherExtents
            | R::NotTheNextPartition { .. }
            | R::NoReplicaRuns
            | R::PreferredNotAvailable
            | R::NoEligibleLeader
            | R::OtherIncarnation
            | R::BrokerRuns
            | R::UnknownToken
            | R::Malformed
            // Offsets of a group that has changed are checked again, and an end by the timeout has no client.
            | R::OtherVersion => false,
        }
    }

    #[test]
    fn x2_no_refusal_of_a_transaction_is_an_unknown_server_error() {
        use kernel::Refusal as R;
        let epoch = ProducerEpoch(0);
        let refusals = [
            R::UnknownTopic,
            R::UnknownPartition,
            R::OutOfOrderSequence { expected: 0, got: 1 },
            R::StaleProducerEpoch { current: epoch, got: epoch },
            R::UnknownTransactionalId,
            R::ProducerFenced,
            R::InvalidTransactionState,
            R::NotInTransaction,
            R::CoordinatorFenced,
            R::TooManyProducers,
            R::TooManyOpenTransactions,
            R::OffsetsExhausted,
            R::NotLeader,
            R::NotYet,
        ];
        assert!(refusals.iter().all(is_of_transactions));
        let ours = [
            TransactionError::NotCoordinator,
            TransactionError::NoId,
            TransactionError::TimeoutOutOfRange,
            TransactionError::NoSuchId,
            TransactionError::Aborted,
            TransactionError::NoRoom,
            TransactionError::Group(GroupError::NotStored),
            TransactionError::NotStored,
        ];
        for error in refusals.map(TransactionError::Refused).iter().chain(&ours) {
            assert_ne!(ErrorCode::from(error), ErrorCode::UnknownServerError, "{error:?}");
            assert_ne!(ErrorCode::abortable(error), ErrorCode::UnknownServerError, "{error:?}");
        }
    }

    #[test]
    fn codes_run_from_minus_one_to_136_without_a_gap() {
        let numbers: Vec<i16> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(numbers, (-1..=136).collect::<Vec<i16>>());
    }
}
