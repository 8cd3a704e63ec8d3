//! ApiVersions (key 18): the API versions of this broker and its finalized features.
//! v3 is the flexible encoding and has the client's name; v5 has the cluster and node that the client
//! expects.
//! A version that does not exist is answered by the table (rule W1).

use crate::api::connection::ClientSoftware;
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::features::{FEATURES, Finalized};
use crate::api::{Handler, Reply};
use crate::config::BrokerSettings;
use crate::protocol::messages::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

impl Handler for ApiVersionsRequest {
    async fn handle(self, ctx: Context) -> Reply<ApiVersionsResponse> {
        Reply::Now(match check(&self, &ctx) {
            Ok(()) => answer(ctx.version, &ctx.features(), &ctx.services.settings()),
            Err(error) => ApiVersionsResponse { error_code: error.code(), ..nothing() },
        })
    }
}

fn check(request: &ApiVersionsRequest, ctx: &Context) -> Result<(), ErrorCode> {
    if ctx.version >= 3 {
        let (name, version) = (&request.client_software_name, &request.client_software_version);
        if !is_software(name) || !is_software(version) {
            return Err(ErrorCode::InvalidRequest);
        }
        // On a second request the client sends the same name again.
        let _ = ctx.connection.software.set(ClientSoftware { name: name.clone(), version: version.clone() });
    }
    let cluster = &ctx.services.cluster;
    match (&request.cluster_id, request.node_id) {
        (None, -1) => Ok(()),
        (None, _) | (Some(_), -1) => Err(ErrorCode::InvalidRequest),
        (Some(id), node) if *id == cluster.cluster_id.to_string() && node == cluster.node_id.0 => Ok(()),
        (Some(_), _) => Err(ErrorCode::RebootstrapRequired),
    }
}

/// Only letters, digits, dots and dashes, and a letter or digit at both ends (rule W15).
fn is_software(text: &str) -> bool {
    let ends = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    ends(text.chars().next())
        && ends(text.chars().next_back())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-'))
}

fn answer(version: i16, finalized: &Finalized, settings: &BrokerSettings) -> ApiVersionsResponse {
    let api_keys = crate::api::TABLE.iter().filter_map(|row| {
        let (min_version, max_version) = row.advertised(settings)?;
        Some(ApiVersion { api_key: row.key, min_version, max_version })
    });
    // Clients of v3 reject a minimum of 0, so Kafka leaves such features out.
    let supported = FEATURES.iter().filter(|feature| version >= 4 || *feature.supported.start() > 0);
    // As in Kafka, a feature of level 0 is switched off, and not in the list.
    let levels = FEATURES.iter().map(|feature| (feature, finalized.level(feature)));
    let levels = levels.filter(|(_, level)| *level > 0);
    ApiVersionsResponse {
        api_keys: api_keys.collect(),
        supported_features: supported
            .map(|feature| SupportedFeatureKey {
                name: feature.name.to_owned(),
                min_version: *feature.supported.start(),
                max_version: *feature.supported.end(),
            })
            .collect(),
        finalized_features_epoch: finalized.epoch(),
        finalized_features: levels
            .map(|(feature, level)| FinalizedFeatureKey {
                name: feature.name.to_owned(),
                max_version_level: level,
                min_version_level: level,
            })
            .collect(),
        ..nothing()
    }
}

/// Every tagged field has its default, so that none is sent (rule W3).
fn nothing() -> ApiVersionsResponse {
    ApiVersionsResponse::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn settings() -> BrokerSettings {
        BrokerSettings::load(Given::default()).unwrap()
    }

    #[test]
    fn w15_client_software_is_checked_by_kafkas_pattern() {
        for good in ["a", "apache-kafka-java", "librdkafka", "2.15.0", "a.b-c", "1-.-1"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "ä", "1_0", "a\n"] {
            assert!(!is_software(bad), "{bad}");
        }
    }

    #[test]
    fn only_features_whose_promise_is_kept_are_finalized_and_their_epoch_is_valid() {
        let answer = answer(5, &Finalized::default(), &settings());
        let finalized: Vec<_> =
            answer.finalized_features.iter().map(|f| (f.name.as_str(), f.max_version_level)).collect();
        assert_eq!(
            finalized,
            [
                ("eligible.leader.replicas.version", 1),
                ("kraft.version", 1),
                ("metadata.version", 33),
                ("transaction.version", 2)
            ]
        );
        assert!(answer.finalized_features_epoch >= 0);
        assert_eq!(answer.supported_features.len(), 4);
    }

    #[test]
    fn version_3_names_no_supported_feature_that_begins_at_zero() {
        let names: Vec<_> = answer(3, &Finalized::default(), &settings())
            .supported_features
            .into_iter()
            .map(|feature| feature.name)
            .collect();
        assert_eq!(names, ["metadata.version"]);
    }
}
