//! The keys of administration, one file per key. Each key of access control lists is in `acl`, of quotas in `quota`,
//! and of delegation tokens in `token`.

mod acl;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
#[cfg(feature = "security")]
mod alter_user_scram_credentials;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
#[cfg(feature = "security")]
mod describe_user_scram_credentials;
mod elect_leaders;
mod incremental_alter_configs;
mod list_config_resources;
mod list_partition_reassignments;
mod quota;
#[cfg(feature = "security")]
mod token;
mod unregister_broker;
mod update_features;
