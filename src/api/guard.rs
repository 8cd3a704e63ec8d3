//! A panic in a handler closes only its own connection.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Later;

/// The output of a future, or `None` if it panicked. The panic hook has then logged the panic. The future
/// is not polled again.
pub struct Guarded<T>(pub(super) Later<T>);

impl<T> Future for Guarded<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => {
                forget(panic);
                Poll::Ready(None)
            }
        }
    }
}

/// Forgets the payload of a panic, because dropping it might panic again.
fn forget(panic: Box<dyn Any + Send>) {
    std::mem::forget(panic);
}
