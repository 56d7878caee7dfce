//! Reads of seats' Leases. Those that come while one is under way go together, as one list: an agent that starts, or finds
//! the API again, asks for all of them at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mainstay_core::input::{EffectId, LeaseReport};
use mainstay_core::names::ClaimId;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Leases;
use crate::adapter::LeaseCall;
use crate::answer::{Answer, ErrorClass};
use crate::calls::{Desk, asking, within};
use crate::fleet::{Ends, whole_and_way};

/// Reads that wait for the one under way. Policy when they are that many: the others wait for a place, up to their deadlines.
const QUEUE: usize = 64;

type Found = Answer<(Value, Ends)>;

/// Where reads are asked for.
#[derive(Clone)]
pub(super) struct Reader(mpsc::Sender<Wanted>);

/// One read.
struct Wanted {
    seat: ClaimId,
    desk: Desk,
    id: EffectId,
    until: Instant,
    answer: oneshot::Sender<Found>,
}

impl Reader {
    /// One whose requests are tasks of `tasks`.
    pub(super) fn begin(tasks: &mut JoinSet<()>, leases: Leases) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        tasks.spawn(serve(leases, queue));
        Self(sender)
    }

    /// Reads one Lease and tells the outcome, at the deadline at the latest.
    pub(super) async fn read(self, desk: Desk, seat: ClaimId, call: LeaseCall) {
        let (sender, receiver) = oneshot::channel();
        let until = Instant::now() + call.deadline;
        let wanted = Wanted { seat, desk: desk.clone(), id: call.id, until, answer: sender };
        let answer = within(call.deadline, async move {
            // Where nobody reads any more, nobody answers either.
            let _ = self.0.send(wanted).await;
            receiver.await.unwrap_or_else(|_| Answer::unknown(ErrorClass::Broken, "the read broke off"))
        });
        desk.conclude(call.id, &answer.await).await;
    }
}

/// One request at a time; but one that is not answered soon is waited for by none but those that it is for.
async fn serve(leases: Leases, mut queue: mpsc::Receiver<Wanted>) {
    let mut under_way = JoinSet::new();
    while let Some(first) = queue.recv().await {
        let mut all = vec![first];
        while let Ok(next) = queue.try_recv() {
            all.push(next);
        }
        all.retain(|wanted| !wanted.answer.is_closed());
        let (done, is_done) = oneshot::channel();
        under_way.spawn(answer(leases.clone(), all, done));
        // Said, or dropped with the request: either way the next may go.
        let _ = is_done.await;
        while under_way.try_join_next().is_some() {}
    }
}

async fn answer(leases: Leases, mut all: Vec<Wanted>, done: oneshot::Sender<()>) {
    match all.len() {
        0 => {}
        1 => one(&leases, all.remove(0), done).await,
        _ => together(&leases, all, done).await,
    }
}

/// By its name.
async fn one(leases: &Leases, wanted: Wanted, done: oneshot::Sender<()>) {
    let found = ask(leases, wanted.desk.lease.object(), std::slice::from_ref(&wanted), done).await;
    // Who asked may have given up.
    let _ = wanted.answer.send(found);
}

/// By a list of all; what is not in it by its name.
async fn together(leases: &Leases, all: Vec<Wanted>, done: oneshot::Sender<()>) {
    let (path, selector) = leases.collection();
    let found = ask(leases, format!("{path}?{selector}"), &all, done).await;
    let mut others = JoinSet::new();
    for wanted in all {
        match answer_for(&wanted, &found, leases) {
            Some(found) => drop(wanted.answer.send(found)),
            None => {
                let leases = leases.clone();
                others.spawn(async move { one(&leases, wanted, oneshot::channel().0).await });
            }
        }
    }
    while others.join_next().await.is_some() {}
}

/// What the list says of one Lease; nothing where that is not in it.
fn answer_for(wanted: &Wanted, list: &Found, leases: &Leases) -> Option<Found> {
    let Answer::Success((list, ends)) = list else { return Some(list.clone()) };
    let mut items = list["items"].as_array().into_iter().flatten();
    let object = items.find(|object| leases.seat(object).as_ref() == Some(&wanted.seat))?;
    Some(Answer::Success((object.clone(), *ends)))
}

/// Sends a read that is for all of these, and tells each when no server has answered it yet.
async fn ask(leases: &Leases, path: String, all: &[Wanted], done: oneshot::Sender<()>) -> Found {
    let left = |wanted: &Wanted| wanted.until.saturating_duration_since(Instant::now());
    let deadline: Duration = all.iter().map(left).max().unwrap_or_default();
    let ask = asking((Method::GET, path), Bytes::new(), leases.settings.timing, deadline);
    let voices: Vec<_> = all.iter().map(|wanted| (wanted.desk.voice.clone(), wanted.id)).collect();
    let fleet = Arc::clone(&leases.fleet);
    within(deadline, async move {
        let unanswered = async || {
            drop(done);
            for (voice, id) in voices {
                voice.say(LeaseReport::Unanswered { id }).await;
            }
        };
        fleet.race(&ask, whole_and_way, unanswered).await.0.answer
    })
    .await
}
