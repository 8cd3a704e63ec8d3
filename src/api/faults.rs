//! Faults by request ([`crate::faults`]): a request that matches a rule is delayed, refused, answered late, or loses its
//! connection.
//!
//! A refusal is the answer that the handler gives to a client without any right, because that changes nothing and has an
//! error code in each field that can have one. The codes are then replaced.

use std::future::ready;
use std::time::Duration;

use super::context::Context;
use super::error::ErrorCode;
use super::{Answer, Handler, Later, Reply, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use crate::faults::{Cut, Effect};
use crate::protocol::Message;
use crate::stop::Stopping;
use crate::time;

const CUT: &str = "a test hook cuts the connection";

/// Keys that change something without any right. All have one error code for the whole answer.
const ACT_WITHOUT_RIGHTS: [i16; 8] = [
    SASL_HANDSHAKE,
    SASL_AUTHENTICATE,
    38, // CreateDelegationToken
    39, // RenewDelegationToken
    40, // ExpireDelegationToken
    41, // DescribeDelegationToken
    71, // GetTelemetrySubscriptions
    72, // PushTelemetry
];

/// Errors of a fetch session, which are never those of one partition.
const OF_FETCH_SESSIONS: [ErrorCode; 3] = [
    ErrorCode::FetchSessionIdNotFound,
    ErrorCode::InvalidFetchSessionEpoch,
    ErrorCode::FetchSessionTopicIdError,
];

/// The reply to a request, with the effect of a rule. Its error is in the reply already, by [`refuse`].
pub(super) async fn serve(effect: Effect, reply: Later<Reply<Answer>>, stopping: Stopping) -> Reply<Answer> {
    let Effect { delay, error: _, answer_delay, cut } = effect;
    sleep(delay, &stopping).await;
    if cut == Some(Cut::BeforeRequest) {
        return Reply::Close(CUT);
    }
    let reply = reply.await;
    let reply = if answer_delay.is_zero() { reply } else { late(reply, answer_delay, stopping) };
    match cut {
        None | Some(Cut::BeforeRequest) => reply,
        Some(Cut::BeforeAnswer) => {
            settle(reply).await;
            Reply::Close(CUT)
        }
        Some(Cut::AfterAnswer) => last(reply),
    }
}

/// The refusal of a request with this code.
pub(super) fn refuse<R: Handler>(request: R, context: Context, code: i16) -> Later<Reply<R::Response>> {
    let is_of_session = OF_FETCH_SESSIONS.iter().any(|error| error.code() == code);
    if is_of_session || ACT_WITHOUT_RIGHTS.contains(&R::KEY) {
        let mut answer = R::Response::default();
        answer.refuse(code);
        return Box::pin(ready(Reply::Now(answer)));
    }
    // In a box, because the compiler would copy each handler's code to here.
    let reply: Later<Reply<R::Response>> = Box::pin(request.handle(context.without_rights()));
    Box::pin(async move {
        match reply.await {
            Reply::Now(mut answer) => {
                answer.refuse(code);
                Reply::Now(answer)
            }
            Reply::Later(answer) => Reply::Later(refused(answer, code)),
            Reply::LaterAndHeld { mute, answer } => {
                Reply::LaterAndHeld { mute, answer: refused(answer, code) }
            }
            Reply::Last(answer) => Reply::Last(refused(answer, code)),
            Reply::LastThenCut(answer, why) => Reply::LastThenCut(refused(answer, code), why),
            silence @ Reply::Silence { .. } => silence,
            Reply::Close(why) => Reply::Close(why),
        }
    })
}

fn refused<M: Message + Send + 'static>(answer: Later<M>, code: i16) -> Later<M> {
    Box::pin(async move {
        let mut answer = answer.await;
        answer.refuse(code);
        answer
    })
}

/// The same answer, later. Requests without an answer stay as they are.
fn late(reply: Reply<Answer>, delay: Duration, stopping: Stopping) -> Reply<Answer> {
    let late = move |answer: Later<Answer>| -> Later<Answer> {
        Box::pin(async move {
            let answer = answer.await;
            sleep(delay, &stopping).await;
            answer
        })
    };
    match reply {
        Reply::Now(answer) => Reply::Later(late(Box::pin(ready(answer)))),
        Reply::Later(answer) => Reply::Later(late(answer)),
        Reply::LaterAndHeld { mute, answer } => Reply::LaterAndHeld { mute, answer: late(answer) },
        Reply::Last(answer) => Reply::Last(late(answer)),
        Reply::LastThenCut(answer, why) => Reply::LastThenCut(late(answer), why),
        silent @ (Reply::Silence { .. } | Reply::Close(_)) => silent,
    }
}

/// Waits until a request has had its effect, without the answer.
async fn settle(reply: Reply<Answer>) {
    match reply {
        Reply::Silence { work, .. } => drop(work.await),
        Reply::Later(answer)
        | Reply::LaterAndHeld { answer, .. }
        | Reply::Last(answer)
        | Reply::LastThenCut(answer, _) => drop(answer.await),
        Reply::Now(_) | Reply::Close(_) => {}
    }
}

/// The same answer as the last one of its connection. Without an answer, the connection is closed once the work is done.
fn last(reply: Reply<Answer>) -> Reply<Answer> {
    match reply {
        Reply::Now(answer) => Reply::LastThenCut(Box::pin(ready(answer)), CUT),
        Reply::Later(answer)
        | Reply::LaterAndHeld { answer, .. }
        | Reply::Last(answer)
        | Reply::LastThenCut(answer, _) => Reply::LastThenCut(answer, CUT),
        Reply::Silence { mute, work } => {
            Reply::Silence { mute, work: Box::pin(async { work.await.and(Err(CUT)) }) }
        }
        Reply::Close(why) => Reply::Close(why),
    }
}

/// Sleeps, but not longer than the broker runs.
async fn sleep(how_long: Duration, stopping: &Stopping) {
    if how_long.is_zero() {
        return;
    }
    tokio::select! {
        () = time::sleep(how_long) => {}
        () = stopping.begun() => {}
    }
}
