//! The keys of the issuers of tokens (OAUTHBEARER): read at the start, and again while the broker runs.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinSet, spawn_blocking};
use tracing::{info, warn};

use crate::api::sasl::{IssuerKeys, TokenKeys};
use crate::config::{BrokerSettings, ConfigError, KeyPlace, KeySource, TokenSettings};
use crate::http;
use crate::security::jwt::{self, KeySet, MOST_KEY_BYTES};
use crate::security::tls::OutgoingTls;
use crate::time;

#[cfg(test)]
mod tests;

/// The least time from one reading of keys to the next, however many tokens name unknown ones.
const LEAST_PAUSE: Duration = Duration::from_secs(10);
/// The shortest pause after the keys could not be read.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// How often a file of keys is looked at.
const FILE_WATCH: Duration = Duration::from_secs(5);

/// The keys of one listener, with the means to read them again.
struct Source {
    listener: String,
    from: KeySource,
}

/// The keys of all listeners that verify signatures, and the tasks that read them again.
pub(super) async fn start(
    settings: &BrokerSettings,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<TokenKeys>, ConfigError> {
    let mut sources = Vec::new();
    let mut verifiers = Vec::new();
    for (listener, logins) in &settings.logins {
        let Some(rules) = &logins.tokens else { continue };
        let signed = match rules {
            TokenSettings::Unsecured(_) => {
                warn!(
                    listener,
                    "OAUTHBEARER accepts tokens without a signature here, so that everybody can log in as anybody: \
                     set sasl.server.callback.handler.class for any use but tests"
                );
                verifiers.push((listener.clone(), rules.clone(), None));
                continue;
            }
            TokenSettings::Signed(signed) => signed,
        };
        // A trust store that cannot be used is an error about its own settings.
        if let KeyPlace::Https(_) = &signed.keys.place {
            OutgoingTls::load(&signed.keys.trust)?;
        }
        let source = Source { listener: listener.clone(), from: signed.keys.clone() };
        let from = &source.from;
        let keys = source.read().await.map_err(|why| from.url.refuse(from.place.to_string(), why))?;
        verifiers.push((listener.clone(), rules.clone(), Some(keys)));
        sources.push(source);
    }
    let keys = Arc::new(TokenKeys::new(verifiers));
    for source in sources {
        let Some(own) = keys.of(&source.listener) else { continue };
        tasks.spawn(keep_fresh(source, Arc::clone(own)));
    }
    Ok(keys)
}

async fn keep_fresh(source: Source, keys: Arc<IssuerKeys>) {
    match &source.from.place {
        KeyPlace::File(path) => watch(&source, path, &keys).await,
        KeyPlace::Https(_) => refresh(&source, &keys, || source.read()).await,
    }
}

/// Reads a file again when it has changed.
async fn watch(source: &Source, path: &Path, keys: &IssuerKeys) {
    let mut read = changed(path).await;
    loop {
        time::sleep(FILE_WATCH).await;
        let now = changed(path).await;
        if now.is_some() && now == read {
            continue;
        }
        match source.read().await {
            Ok(new) => {
                source.replace(keys, new);
                read = now;
            }
            Err(why) => {
                source.warn(&why);
                read = None;
            }
        }
    }
}

/// The time of the last change of a file, and its length.
async fn changed(path: &Path) -> Option<(SystemTime, u64)> {
    let path = path.to_owned();
    let metadata = spawn_blocking(move || std::fs::metadata(path)).await.ok()?.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads an address again after some time, and when a token names an unknown key.
async fn refresh<Reading>(source: &Source, keys: &IssuerKeys, read: impl Fn() -> Reading)
where
    Reading: Future<Output = Result<KeySet, String>>,
{
    let KeySource { refresh, retry, longest_retry, .. } = source.from;
    loop {
        time::sleep(LEAST_PAUSE).await;
        tokio::select! {
            () = time::sleep(refresh.saturating_sub(LEAST_PAUSE)) => {}
            () = keys.is_unknown() => {}
        }
        let mut pause = retry;
        loop {
            match read().await {
                Ok(new) => break source.replace(keys, new),
                Err(why) => source.warn(&why),
            }
            time::sleep(pause.clamp(SHORTEST_PAUSE, longest_retry.max(SHORTEST_PAUSE))).await;
            pause = pause.saturating_mul(2);
        }
    }
}

impl Source {
    async fn read(&self) -> Result<KeySet, String> {
        let keys = match &self.from.place {
            KeyPlace::File(path) => {
                let path = path.clone();
                spawn_blocking(move || jwt::read_file(&path)).await.map_err(|error| error.to_string())??
            }
            KeyPlace::Https(address) => {
                // The trust store is read anew each time, because certificates of authorities end, too.
                let trust = self.from.trust.clone();
                let tls = spawn_blocking(move || OutgoingTls::load(&trust)).await;
                let tls = tls.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                KeySet::parse(&http::get(address, tls.config(), MOST_KEY_BYTES).await?)?
            }
        };
        if keys.left_out > 0 {
            info!(
                listener = self.listener,
                used = keys.len(),
                left_out = keys.left_out,
                "the issuer of tokens has keys that are for something else, or not supported"
            );
        }
        Ok(keys)
    }

    fn replace(&self, keys: &IssuerKeys, new: KeySet) {
        info!(listener = self.listener, keys = new.len(), "the keys of the issuer of tokens were read again");
        keys.replace(new);
    }

    fn warn(&self, why: &str) {
        let Source { listener, from } = self;
        warn!(
            listener,
            url = %from.place, why,
            "the keys of the issuer of tokens cannot be read, and the old ones stay in use: check the address, its server, \
             and the trust store"
        );
    }
}
