//! Our own facts on a Lease: annotations `mainstay.io/...`.
//!
//! client-go carries metadata forward when another elector takes the Lease, so whatever speaks of a grant names the
//! holder and the epoch it speaks of, and is void under any other. (The epoch, not the acquire time: the writer of an
//! acquire time is the adapter's clock, and client-go keeps both unchanged when one identity acquires twice.)

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::input::LeaseRecord;
use crate::names::{InstanceId, NodeName};
use crate::snapshot::Member;
use crate::vip::Vip;

/// Who was granted what: the proof that a Lease is held by a Mainstay node, and by which run of it.
pub const GRANT: &str = "mainstay.io/grant";
/// The claim's members and how they are found on the wire. A seat's Lease lists its home alone: a member of all seats is who is
/// listed on the Lease of its own.
pub const MEMBERS: &str = "mainstay.io/members";
/// The holder cannot serve and invites a healthy node.
pub const INVITATION: &str = "mainstay.io/invitation";
/// The addresses that the holder wears, where they come from DNS names: nodes see a new answer at different times.
pub const ADDRESSES: &str = "mainstay.io/addresses";
/// How many takeovers turned out to be false.
pub const FALSE_TAKEOVERS: &str = "mainstay.io/false-takeovers";

/// The members that one Lease lists at most; a Lease is read by every node every few seconds.
const MEMBERS_LIMIT: usize = 64;

/// A grant's binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `holderIdentity`.
    pub holder: String,
    /// `leaseTransitions`.
    pub epoch: u32,
    /// The run that holds it.
    pub instance: InstanceId,
}

/// Reads one annotation; one that is missing or malformed is `None`.
fn read<T: DeserializeOwned>(record: &LeaseRecord, key: &str) -> Option<T> {
    serde_json::from_str(record.annotations.get(key)?).ok()
}

/// Writes one annotation. Plain data of ours always has a JSON form.
fn write<T: Serialize>(annotations: &mut BTreeMap<String, String>, key: &str, value: &T) {
    if let Ok(text) = serde_json::to_string(value) {
        annotations.insert(key.to_owned(), text);
    }
}

/// The grant that the record's holder wrote of itself, if it is a Mainstay node's and still the record's.
#[must_use]
pub fn grant(record: &LeaseRecord) -> Option<Grant> {
    read::<Grant>(record, GRANT)
        .filter(|grant| record.holder.as_ref() == Some(&grant.holder) && grant.epoch == record.transitions)
}

/// The members the record lists.
#[must_use]
pub fn members(record: &LeaseRecord) -> BTreeMap<NodeName, Member> {
    read(record, MEMBERS).unwrap_or_default()
}

/// Whether the record's holder invites a healthy node.
#[must_use]
pub fn invited(record: &LeaseRecord) -> bool {
    let invitation: Option<Grant> = read(record, INVITATION);
    invitation.is_some() && invitation == grant(record)
}

/// What a holder wears by its grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Worn {
    grant: Grant,
    vips: Vec<Vip>,
}

/// The addresses that the record's holder says it wears; `None` where it says nothing of them.
#[must_use]
pub fn addresses(record: &LeaseRecord) -> Option<Vec<Vip>> {
    let worn = read::<Worn>(record, ADDRESSES)?;
    (grant(record) == Some(worn.grant)).then_some(worn.vips)
}

/// How many takeovers turned out to be false, as last written.
#[must_use]
pub fn false_takeovers(record: &LeaseRecord) -> u32 {
    read(record, FALSE_TAKEOVERS).unwrap_or(0)
}

/// What the annotations of one record say, read once: the machine looks at it with every input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The members it lists.
    pub members: BTreeMap<NodeName, Member>,
    /// Its holder is a Mainstay node that wrote so itself.
    pub mainstay: bool,
    /// Its holder invites a healthy node.
    pub invited: bool,
    /// Its count of false takeovers.
    pub false_takeovers: u32,
    /// The addresses that its holder says it wears.
    pub addresses: Option<Vec<Vip>>,
}

impl Facts {
    /// Reads a record.
    #[must_use]
    pub fn of(record: &LeaseRecord) -> Self {
        Self {
            members: members(record),
            mainstay: grant(record).is_some(),
            invited: invited(record),
            false_takeovers: false_takeovers(record),
            addresses: addresses(record),
        }
    }
}

/// Whether `member` should be written under `node`: it is missing or differs, and there is room.
#[must_use]
pub fn wants_member(members: &BTreeMap<NodeName, Member>, node: &NodeName, member: &Member) -> bool {
    match members.get(node) {
        Some(listed) => listed != member,
        None => members.len() < MEMBERS_LIMIT,
    }
}

/// What a node has to say on the Lease beside the election record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Itself; `None` where it is not to be listed: on the Lease of another node's seat.
    pub member: Option<Member>,
    /// The members it remembers, itself left out: written where the Lease lists nobody. A Lease that was deleted
    /// would else be read and written once by every one of them.
    pub remembered: BTreeMap<NodeName, Member>,
    /// Members that a holder drops with its next renewal: nobody has heard them for long.
    pub forget: Vec<NodeName>,
    /// It holds, cannot serve, and invites.
    pub invite: Invite,
    /// Its count of false takeovers; `None` leaves what is written.
    pub false_takeovers: Option<u32>,
    /// The addresses that a holder wears, where they come from names.
    pub addresses: Option<Vec<Vip>>,
}

/// Whether the holder invites a healthy node to take over (rule 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invite {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// The annotations of `base` with `grant` and `publication` written in.
#[must_use]
pub fn compose(
    base: &BTreeMap<String, String>,
    node: &NodeName,
    grant: Option<&Grant>,
    publication: &Publication,
) -> BTreeMap<String, String> {
    let mut annotations = base.clone();
    annotations.remove(GRANT);
    annotations.remove(INVITATION);
    annotations.remove(ADDRESSES);
    if let Some(grant) = grant {
        write(&mut annotations, GRANT, grant);
        if publication.invite == Invite::Yes {
            write(&mut annotations, INVITATION, grant);
        }
        if let Some(vips) = publication.addresses.clone() {
            write(&mut annotations, ADDRESSES, &Worn { grant: grant.clone(), vips });
        }
    }
    if let Some(false_takeovers) = publication.false_takeovers {
        count(&mut annotations, false_takeovers);
    }
    remember(&mut annotations, &publication.remembered);
    forget(&mut annotations, &publication.forget);
    if let Some(member) = &publication.member {
        join(&mut annotations, node, member);
    }
    annotations
}

/// Writes the count of false takeovers.
pub fn count(annotations: &mut BTreeMap<String, String>, false_takeovers: u32) {
    write(annotations, FALSE_TAKEOVERS, &false_takeovers);
}

/// Writes `members` where nobody is listed.
pub fn remember(annotations: &mut BTreeMap<String, String>, members: &BTreeMap<NodeName, Member>) {
    if !members.is_empty() && listed(annotations).is_empty() {
        write(annotations, MEMBERS, members);
    }
}

/// Takes `gone` off the list of members.
fn forget(annotations: &mut BTreeMap<String, String>, gone: &[NodeName]) {
    if gone.is_empty() {
        return;
    }
    let mut members = listed(annotations);
    members.retain(|name, _| !gone.contains(name));
    write(annotations, MEMBERS, &members);
}

fn listed(annotations: &BTreeMap<String, String>) -> BTreeMap<NodeName, Member> {
    annotations.get(MEMBERS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Writes `member` into the list of members under `node`.
pub fn join(annotations: &mut BTreeMap<String, String>, node: &NodeName, member: &Member) {
    let mut members = listed(annotations);
    if members.len() < MEMBERS_LIMIT || members.contains_key(node) {
        members.insert(node.clone(), member.clone());
    }
    write(annotations, MEMBERS, &members);
}
