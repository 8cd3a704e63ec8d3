//! UpdateFeatures (key 57): changes the levels of features. Only that of `transaction.version` can change: an update
//! of another feature to its current level succeeds, and other updates get Kafka's errors.
//! v1 distinguishes safe and unsafe downgrades and can validate only; v2 has one error for all.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::api::features::{Feature, Finalized};
use crate::api::{Handler, Reply, features};
use crate::protocol::messages::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::security::operations::Operation;

const UPGRADE: i8 = 1;
const UNSAFE_DOWNGRADE: i8 = 3;

const METADATA_VERSION: &str = "metadata.version";

impl Handler for UpdateFeaturesRequest {
    const GAPS: &'static [&'static str] = &[
        "eligible.leader.replicas.version stays at 1: a downgrade is INVALID_UPDATE_VERSION.",
        "group.version, share.version and streams.version are unknown until Jackdaw has what they switch on.",
    ];

    fn named(&self) -> usize {
        self.feature_updates.len()
    }

    async fn handle(self, ctx: Context) -> Reply<UpdateFeaturesResponse> {
        if let Err(refusal) = ctx.cluster_or_reason(Operation::Alter) {
            return Reply::Now(UpdateFeaturesResponse {
                error_code: refusal.code.code(),
                error_message: refusal.message,
                ..UpdateFeaturesResponse::default()
            });
        }
        Reply::Now(match update(&self, &ctx).await {
            Ok(()) => UpdateFeaturesResponse {
                error_message: None,
                // Since v2 there is only the one error for all.
                results: if ctx.version < 2 {
                    self.feature_updates.into_iter().map(updated).collect()
                } else {
                    Vec::new()
                },
                ..UpdateFeaturesResponse::default()
            },
            Err(refusal) => UpdateFeaturesResponse {
                error_code: refusal.code.code(),
                error_message: refusal.message,
                ..UpdateFeaturesResponse::default()
            },
        })
    }
}

/// Checks all updates, then sets the levels that change.
async fn update(request: &UpdateFeaturesRequest, ctx: &Context) -> Result<(), Refusal> {
    let controller = ctx.controller(&ctx.topics()).0;
    let finalized = ctx.features();
    // As in Kafka, the last update of a feature counts.
    let updates: BTreeMap<&str, &FeatureUpdateKey> =
        request.feature_updates.iter().map(|update| (update.feature.as_str(), update)).collect();
    let mut changes = Vec::new();
    for update in updates.into_values() {
        let feature = judge(update, &finalized, controller).map_err(of_all)?;
        if finalized.level(feature) != update.max_version_level {
            changes.push((feature.name, update.max_version_level));
        }
    }
    if !request.validate_only {
        for (name, level) in changes {
            ctx.set_feature(name, level).await.map_err(|error| Refusal::from(&error))?;
        }
    }
    Ok(())
}

/// The refusal of one update, which is that of the whole request.
fn of_all(refusal: Refusal) -> Refusal {
    let message = refusal.message.map(|why| {
        format!("The update failed for all features since the following feature had an error: {why}")
    });
    Refusal { message, ..refusal }
}

/// The feature, if it may be set to this level.
fn judge(
    update: &FeatureUpdateKey,
    finalized: &Finalized,
    controller: i32,
) -> Result<&'static Feature, Refusal> {
    let FeatureUpdateKey { feature: name, max_version_level: level, upgrade_type, .. } = update;
    let refuse = |why: String| {
        let why = format!("Invalid update version {level} for feature {name}. {why}");
        Err(Refusal::new(ErrorCode::InvalidUpdateVersion, why))
    };
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(upgrade_type) {
        return refuse("The controller does not support the given upgrade type.".to_owned());
    }
    if *level < 0 {
        return refuse("A feature version cannot be less than 0.".to_owned());
    }
    let Some(feature) = features::find(name) else {
        if *level == 0 {
            return refuse(format!("Feature {name} not found."));
        }
        return refuse(format!("Local controller {controller} does not support this feature."));
    };
    let (low, high) = (feature.supported.start(), feature.supported.end());
    if !(low..=high).contains(&level) {
        return refuse(format!("Local controller {controller} only supports versions {low}-{high}"));
    }
    let current = finalized.level(feature);
    match level.cmp(&current) {
        Ordering::Equal => Ok(feature),
        Ordering::Less if *upgrade_type == UPGRADE => refuse(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
                .to_owned(),
        ),
        Ordering::Greater if *upgrade_type != UPGRADE => refuse("Can't downgrade to a newer version.".to_owned()),
        Ordering::Less | Ordering::Greater if feature.may_change => Ok(feature),
        Ordering::Less | Ordering::Greater if name == METADATA_VERSION => {
            let why = match *upgrade_type {
                UNSAFE_DOWNGRADE => "Unsafe metadata downgrade is not supported in this version.",
                _ => "Refusing to perform the requested downgrade because it might delete metadata information.",
            };
            let why = format!("Unsupported metadata.version downgrade from {current} to {level}. {why}");
            Err(Refusal::new(ErrorCode::InvalidUpdateVersion, why))
        }
        Ordering::Less | Ordering::Greater => {
            refuse("Can't downgrade the version of this feature.".to_owned())
        }
    }
}

fn updated(update: FeatureUpdateKey) -> UpdatableFeatureResult {
    // Kafka's message for success.
    let error_message = Some("NONE".to_owned());
    UpdatableFeatureResult { feature: update.feature, error_code: 0, error_message }
}
