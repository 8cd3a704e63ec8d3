//! ListTransactions (key 66): the transactional ids that this broker coordinates.
//! v1 has a filter for the time since the start of the transaction, v2 one for ids: a regular expression that has to
//! match the whole id.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

use crate::api::context::{Context, ListedTransaction};
use crate::api::error::ErrorCode;
use crate::api::off_thread::on_one_of;
use crate::api::throttle::RequestMeter;
use crate::api::{Handler, Reply, Size, Weight};
use crate::kernel::{STATE_NAMES, Transaction};
use crate::protocol::messages::{
    ListTransactionsRequest, ListTransactionsResponse, list_transactions_response::TransactionState,
};
use crate::types::{Timestamp, WholePattern};

/// The memory that a compiled regular expression may take.
const PATTERN_BYTES: usize = 128 << 10;

/// The text of the ids that a pattern is compared with in one turn, in bytes: less than a second with the slowest pattern.
const TURN: usize = 16 << 10;

/// Patterns share one thread and take turns, so that a slow one delays only other patterns, and these a little.
static FOR_PATTERNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

impl Handler for ListTransactionsRequest {
    const GAPS: &'static [&'static str] = &[
        "A regular expression that takes more than 128 KiB when it is compiled is INVALID_REGULAR_EXPRESSION.",
    ];

    fn named(&self) -> usize {
        self.state_filters.len() + self.producer_id_filters.len()
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        // The listing, the response and its encoded form each take less than the ids themselves.
        Weight::asked(size.echoed() + 4 * PATTERN_BYTES).and_held(2 * ctx.weigh_transactions())
    }

    async fn handle(mut self, ctx: Context) -> Reply<ListTransactionsResponse> {
        let unknown_state_filters = unknown(&self.state_filters);
        let now = ctx.now().time;
        let pattern = self.transactional_id_pattern.take().filter(|pattern| !pattern.is_empty());
        let listed = match pattern {
            None => Ok(whole_list(&Filter::of(self, None, now), &ctx)),
            Some(pattern) => {
                let compile = move || WholePattern::of_client(&pattern, PATTERN_BYTES);
                match on_one_of(&FOR_PATTERNS, ctx.metered.as_ref(), compile).await {
                    Ok(pattern) => Ok(list_by_pattern(Filter::of(self, Some(pattern), now), ctx).await),
                    Err(_) => Err(ErrorCode::InvalidRegularExpression),
                }
            }
        };
        Reply::Now(match listed {
            Ok(listed) => ListTransactionsResponse {
                unknown_state_filters,
                transaction_states: listed.into_iter().map(state).collect(),
                ..ListTransactionsResponse::default()
            },
            Err(error) => ListTransactionsResponse { error_code: error.code(), ..Default::default() },
        })
    }
}

fn whole_list(filter: &Filter, ctx: &Context) -> Vec<ListedTransaction> {
    ctx.list_transactions("", usize::MAX, |id, transaction| filter.admits(id, transaction)).listed
}

/// Looks at the ids in turns on the thread for patterns. Ids that come or go meanwhile may be in the list or not.
async fn list_by_pattern(filter: Filter, ctx: Context) -> Vec<ListedTransaction> {
    let metered = ctx.metered.clone();
    let begun = (filter, ctx, Vec::new(), Arc::from(""));
    in_turns(&FOR_PATTERNS, metered.as_ref(), begun, |(filter, ctx, mut listed, from)| {
        let admits = |id: &str, transaction: &Transaction| filter.admits(id, transaction);
        let part = ctx.list_transactions(&from, TURN, admits);
        listed.extend(part.listed);
        match part.next {
            Some(next) => ControlFlow::Continue((filter, ctx, listed, next)),
            None => ControlFlow::Break(listed),
        }
    })
    .await
}

/// Does work in turns on one of these threads. Others that wait for the thread come between two turns.
async fn in_turns<S: Send + 'static, T: Send + 'static>(
    threads: &LazyLock<Arc<Semaphore>>,
    metered: Option<&Arc<RequestMeter>>,
    mut work: S,
    turn: fn(S) -> ControlFlow<T, S>,
) -> T {
    loop {
        match on_one_of(threads, metered, move || turn(work)).await {
            ControlFlow::Break(done) => return done,
            ControlFlow::Continue(left) => work = left,
        }
    }
}

/// A filter that is empty admits all.
struct Filter {
    states: HashSet<String>,
    producers: HashSet<i64>,
    /// Admits the transactions that started before.
    started_before: Option<Timestamp>,
    pattern: Option<WholePattern>,
}

impl Filter {
    fn of(request: ListTransactionsRequest, pattern: Option<WholePattern>, now: Timestamp) -> Filter {
        let duration = Some(request.duration_filter).filter(|ms| *ms >= 0);
        Filter {
            states: request.state_filters.into_iter().collect(),
            producers: request.producer_id_filters.into_iter().collect(),
            started_before: duration.map(|ms| Timestamp(now.0.saturating_sub(ms))),
            pattern,
        }
    }

    fn admits(&self, id: &str, transaction: &Transaction) -> bool {
        // As in Kafka, an id without a transaction passes for one that started long ago.
        let started = transaction.started.unwrap_or(Timestamp(-1));
        (self.states.is_empty() || self.states.contains(transaction.state_name()))
            && (self.producers.is_empty() || self.producers.contains(&transaction.producer.id.0))
            && self.started_before.is_none_or(|before| started < before)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(id))
    }
}

/// The names that are no states, each once.
fn unknown(states: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let unknown = states.iter().filter(|state| !STATE_NAMES.contains(&state.as_str()) && seen.insert(*state));
    unknown.cloned().collect()
}

fn state(listed: ListedTransaction) -> TransactionState {
    TransactionState {
        transactional_id: listed.id,
        producer_id: listed.producer.0,
        transaction_state: listed.state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn names_that_are_no_states_come_back_once() {
        let named = ["ongoing", "Ongoing", "ongoing", "PrepareCommit", ""].map(str::to_owned).to_vec();
        assert_eq!(unknown(&named), ["ongoing", ""]);
    }

    #[tokio::test]
    async fn others_get_the_thread_between_two_turns() {
        static THREAD: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));
        static TURNS: AtomicU32 = AtomicU32::new(0);
        let held = THREAD.acquire().await.unwrap();
        let slow = tokio::spawn(in_turns(&THREAD, None, 3, |left| {
            TURNS.fetch_add(1, Ordering::SeqCst);
            if left == 1 { ControlFlow::Break("done") } else { ControlFlow::Continue(left - 1) }
        }));
        tokio::task::yield_now().await;
        let other = tokio::spawn(THREAD.acquire());
        tokio::task::yield_now().await;
        // Both wait by now, `slow` first.
        drop(held);
        let between = other.await.unwrap().unwrap();
        assert_eq!(TURNS.load(Ordering::SeqCst), 1);
        drop(between);
        assert_eq!(slow.await.unwrap(), "done");
        assert_eq!(TURNS.load(Ordering::SeqCst), 3);
    }
}
