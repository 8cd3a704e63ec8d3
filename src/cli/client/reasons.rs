//! The meaning of Kafka's error codes, for answers of brokers that have a code and no words.

use crate::api::error::ErrorCode;

pub fn explained(code: ErrorCode) -> &'static str {
    use ErrorCode as C;
    match code {
        C::None => "there is no error",
        C::UnknownServerError => "the broker failed: its log says why",
        C::OffsetOutOfRange | C::PositionOutOfRange => "the offset is outside of the log",
        C::CorruptMessage => "the records arrived damaged",
        C::UnknownTopicOrPartition => "there is no such topic or partition",
        C::InvalidFetchSize => "the size of the fetch is not valid",
        C::LeaderNotAvailable => "the partition has no leader",
        C::NotLeaderOrFollower | C::FencedLeaderEpoch | C::UnknownLeaderEpoch | C::NewLeaderElected => {
            "another broker leads the partition now"
        }
        C::RequestTimedOut => "the broker did not finish in time: see --timeout",
        C::BrokerNotAvailable | C::BrokerIdNotRegistered => "there is no such broker, or it does not run",
        C::ReplicaNotAvailable => "a replica is not available",
        C::MessageTooLarge | C::RecordListTooLarge => {
            "the records are larger than max.message.bytes of the topic or than the segments of its log"
        }
        C::StaleControllerEpoch | C::StaleBrokerEpoch => "the broker has restarted or was replaced",
        C::OffsetMetadataTooLarge => "the metadata of the offset is too large",
        C::NetworkException => "the brokers lost their connection",
        C::CoordinatorLoadInProgress => "its coordinator is still loading",
        C::CoordinatorNotAvailable => "no broker coordinates it yet",
        C::NotCoordinator => "another broker coordinates it now",
        C::InvalidTopicException => "this is no valid name of a topic",
        C::NotEnoughReplicas => "fewer replicas are in sync than min.insync.replicas of the topic asks for",
        C::NotEnoughReplicasAfterAppend => {
            "the records are written, but to fewer replicas than min.insync.replicas of the topic asks for"
        }
        C::InvalidRequiredAcks => "acks is not valid",
        C::UnknownMemberId | C::IllegalGeneration => "the group has members: stop them first",
        C::InconsistentGroupProtocol => {
            "the group is of another type, or its members have no assignor in common"
        }
        C::InvalidGroupId => "this is no valid name of a group",
        C::InvalidSessionTimeout => "the session timeout is outside of the broker's limits",
        C::RebalanceInProgress => "the group is rebalancing",
        C::InvalidCommitOffsetSize => "the offset and its metadata are too large",
        C::TopicAuthorizationFailed => "the user has no right to this on the topic",
        C::GroupAuthorizationFailed => "the user has no right to this on the group",
        C::ClusterAuthorizationFailed => "the user has no right to this on the cluster",
        C::TransactionalIdAuthorizationFailed => "the user has no right to this on the transactional id",
        C::DelegationTokenAuthorizationFailed => "the user has no right to this on the token",
        C::InvalidTimestamp => "the timestamp is too far from the time of the broker",
        C::UnsupportedSaslMechanism => "the broker does not have the mechanism of the login",
        C::IllegalSaslState => {
            "the port has no login: leave out --user, or use the address of a port with SASL"
        }
        C::UnsupportedVersion => "the broker does not support it",
        C::TopicAlreadyExists => "the topic exists already",
        C::InvalidPartitions => "the number of partitions is not valid",
        C::InvalidReplicationFactor => {
            "the replication factor is less than 1 or more than the number of brokers"
        }
        C::InvalidReplicaAssignment => "the replicas are not on different brokers that exist",
        C::InvalidConfig => "a setting or its value is not valid",
        C::NotController | C::UnknownControllerId | C::ControllerIdNotRegistered => {
            "the broker does not find the controller"
        }
        C::InvalidRequest => "the broker finds a name or a value in the request that is not valid",
        C::UnsupportedForMessageFormat => "the format of the topic's records is too old for it",
        C::PolicyViolation => "the settings of the topic forbid it",
        C::OutOfOrderSequenceNumber | C::DuplicateSequenceNumber => {
            "records of the producer are missing or repeated"
        }
        C::InvalidProducerEpoch | C::ProducerFenced => "another producer with this id has begun",
        C::InvalidTxnState => "the transaction is not in a state for it",
        C::InvalidProducerIdMapping => "the transactional id has another producer id",
        C::InvalidTransactionTimeout => "the timeout is longer than transaction.max.timeout.ms of the broker",
        C::ConcurrentTransactions => "the transaction before it is still ending",
        C::TransactionCoordinatorFenced => "the transaction has another coordinator now",
        C::SecurityDisabled => "the broker has no authorizer: authorizer.class.name is not set",
        C::OperationNotAttempted => "the broker did not try it, because another part of the request failed",
        C::KafkaStorageError => "the broker cannot use its disk: it is full or failed",
        C::LogDirNotFound => "there is no such log directory",
        C::SaslAuthenticationFailed => "the login is refused: the user, the password or the token is wrong",
        C::UnknownProducerId => "the broker does not know the producer any more",
        C::ReassignmentInProgress => "the replicas of the partition are being moved",
        C::DelegationTokenAuthDisabled => {
            "the broker has no delegation tokens: delegation.token.secret.key is not set"
        }
        C::DelegationTokenNotFound => "there is no such token",
        C::DelegationTokenOwnerMismatch => "the token has another owner",
        C::DelegationTokenRequestNotAllowed => {
            "tokens are not for connections without a login or with a token"
        }
        C::DelegationTokenExpired => "the token has expired",
        C::InvalidPrincipalType => "the type of the principal is not supported",
        C::NonEmptyGroup => "the group has members",
        C::GroupIdNotFound => "there is no such group",
        C::FetchSessionIdNotFound | C::InvalidFetchSessionEpoch | C::FetchSessionTopicIdError => {
            "the broker does not know the session of the fetch any more"
        }
        C::ListenerNotFound => "the leader has no listener of this name",
        C::TopicDeletionDisabled => "delete.topic.enable of the broker is false",
        C::UnsupportedCompressionType => "the broker does not have the compression",
        C::OffsetNotAvailable => "a new leader does not know the end of the log yet",
        C::MemberIdRequired => "the member has no id yet",
        C::PreferredLeaderNotAvailable => "the first replica is not in sync",
        C::GroupMaxSizeReached => "the group has as many members as the broker lets it have",
        C::FencedInstanceId | C::FencedMemberEpoch | C::StaleMemberEpoch => {
            "another member has taken its place"
        }
        C::UnreleasedInstanceId => "another member has this group.instance.id",
        C::EligibleLeadersNotAvailable => "no replica can lead it",
        C::ElectionNotNeeded => "no election is needed",
        C::NoReassignmentInProgress => "no move is under way",
        C::GroupSubscribedToTopic => "members of the group read the topic",
        C::InvalidRecord => "the topic does not accept the record",
        C::UnstableOffsetCommit => "offsets of an open transaction are not committed yet",
        C::ThrottlingQuotaExceeded => "the quota for changes is used up: try again later",
        C::ResourceNotFound => "there is no such user, quota or resource",
        C::DuplicateResource => "it is named twice",
        C::UnacceptableCredential => "the credential is not acceptable",
        C::InconsistentVoterSet | C::InvalidVoterKey => "the voters of the quorum do not fit",
        C::DuplicateVoter => "the controller is a voter already",
        C::VoterNotFound => "the controller is no voter",
        C::InvalidUpdateVersion | C::FeatureUpdateFailed => {
            "the level of the feature cannot be changed to this"
        }
        C::PrincipalDeserializationFailure => "the broker cannot read the principal of a forwarded request",
        C::SnapshotNotFound => "there is no such snapshot of the metadata",
        C::UnknownTopicId => "there is no topic with this id",
        C::InconsistentTopicId => "the topic was deleted and created again",
        C::DuplicateBrokerRegistration => "another broker with this id runs",
        C::InconsistentClusterId => "the cluster has another id",
        C::TransactionalIdNotFound => "there is no such transactional id",
        C::IneligibleReplica => "a replica cannot be in sync",
        C::OffsetMovedToTieredStorage => "the records are in tiered storage",
        C::UnsupportedAssignor => "the group has no such assignor",
        C::MismatchedEndpointType | C::UnsupportedEndpointType => {
            "the port is of a controller, or of a broker, and not of the other"
        }
        C::UnknownSubscriptionId => "the subscription of the metrics is not known",
        C::TelemetryTooLarge => "the metrics are larger than telemetry.max.bytes",
        C::InvalidRegistration => "the registration of the controller is not valid",
        C::TransactionAbortable => "the transaction has to be aborted",
        C::InvalidRecordState => "the record is not acquired by the member",
        C::ShareSessionNotFound | C::InvalidShareSessionEpoch => {
            "the broker does not know the share session any more"
        }
        C::ShareSessionLimitReached => "the broker has as many share sessions as it may",
        C::FencedStateEpoch => "the state of the share group is newer",
        C::InvalidRegularExpression => "this is no regular expression of the broker's dialect, RE2",
        C::RebootstrapRequired => "the cluster at this address is another one now",
        C::StreamsInvalidTopology | C::StreamsInvalidTopologyEpoch | C::StreamsTopologyFenced => {
            "the topology of the streams group does not fit"
        }
        C::StreamsTopologyDescriptionUpdateFailed => "the description of the topology was not stored",
        C::GroupDeletionFailed => "the group was not deleted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_meaning_in_words_and_not_in_names_of_codes() {
        for code in ErrorCode::ALL {
            let words = explained(*code);
            assert!(words.contains(' ') && !words.ends_with('.') && !words.contains(code.name()), "{words}");
        }
    }
}
