//! Which addresses of DNS answers are the claim's VIPs. Pure.
//!
//! Of several, one that the holder says it wears is chosen: whoever takes the claim from it is to go on with that. Else
//! what is held stays chosen as long as the answer lists it: name servers give the addresses of one name in turns, and
//! that must not move anything. Where nothing is held, the lowest address is chosen, so that nodes that never spoke choose
//! the same one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mainstay_core::vip::Vip;

use super::{Answers, each_once};
use crate::config::features::DnsMode;
use crate::config::{Address, names_among};

/// The claim's addresses as they were configured, and what the names among them mean.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    addresses: Vec<Address>,
    mode: DnsMode,
    held: BTreeMap<String, Vec<Vip>>,
}

impl Choice {
    /// One that holds what an earlier run held, as far as it is still asked for in this mode.
    pub(crate) fn new(addresses: &[Address], mode: DnsMode, kept: &Answers) -> Self {
        let mut choice = Self { addresses: addresses.to_vec(), mode, held: BTreeMap::new() };
        for name in choice.names() {
            let chosen = kept.get(&name).and_then(|kept| choice.of(&name, kept, &[]).ok());
            chosen.into_iter().for_each(|chosen| choice.hold(&name, chosen));
        }
        choice
    }

    /// The names.
    pub(crate) fn names(&self) -> Vec<String> {
        names_among(&self.addresses).map(|name| name.as_str().to_owned()).collect()
    }

    /// What `name` means at present; nothing before its first good answer.
    pub(crate) fn held(&self, name: &str) -> &[Vip] {
        self.held.get(name).map_or(&[], Vec::as_slice)
    }

    /// Which addresses of `answer` the mode asks for. `told` is what another node says that it wears by its grant.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn of(&self, name: &str, answer: &[IpAddr], told: &[Vip]) -> Result<Vec<Vip>, String> {
        let held = self.held(name);
        let pick = |wanted: fn(&IpAddr) -> bool| {
            let stays = || held.iter().find(|vip| wanted(vip) && answer.contains(vip));
            let shared = stays().filter(|vip| told.contains(vip));
            let worn = || answer.iter().filter(|vip| wanted(vip) && told.contains(vip)).min();
            shared.or_else(worn).or_else(stays).or_else(|| lowest(answer, wanted)).copied()
        };
        let kept = |wanted: fn(&IpAddr) -> bool| held.iter().find(|vip| wanted(vip)).copied();
        let (one, other, family) = match self.mode {
            DnsMode::First => (pick(|_| true), None, ""),
            DnsMode::Ipv4 => (pick(IpAddr::is_ipv4), None, "IPv4 "),
            DnsMode::Ipv6 => (pick(IpAddr::is_ipv6), None, "IPv6 "),
            // A family that is missing from an answer was there before, and one of two is better than none.
            DnsMode::Dual => match (pick(IpAddr::is_ipv4), pick(IpAddr::is_ipv6)) {
                (None, None) => (None, None, ""),
                (four, six) => {
                    (four.or_else(|| kept(IpAddr::is_ipv4)), six.or_else(|| kept(IpAddr::is_ipv6)), "")
                }
            },
        };
        let chosen: Vec<Vip> = one.into_iter().chain(other).collect();
        if chosen.is_empty() {
            return Err(format!("the answer for {name} has no {family}address"));
        }
        Ok(chosen)
    }

    /// `name` means these from now on.
    pub(crate) fn hold(&mut self, name: &str, chosen: Vec<Vip>) {
        self.held.insert(name.to_owned(), chosen);
    }

    /// The claim's addresses as far as they are known, in the order in which they were configured, each once: one of
    /// several is better than none.
    pub(crate) fn vips(&self) -> Vec<Vip> {
        let meant = |address: &Address| match address {
            Address::Ip(vip) => vec![*vip],
            Address::Name(name) => self.held(name.as_str()).to_vec(),
        };
        each_once(self.addresses.iter().flat_map(meant).collect())
    }

    /// Whether every name has had a good answer.
    pub(crate) fn is_complete(&self) -> bool {
        names_among(&self.addresses).all(|name| !self.held(name.as_str()).is_empty())
    }

    /// What `name` was held to mean is not to be believed.
    pub(crate) fn forget(&mut self, name: &str) {
        self.held.remove(name);
    }

    /// What is to be kept across a restart.
    pub(crate) fn answers(&self) -> Answers {
        self.held.clone()
    }
}

/// Of those that are wanted, the lowest of the family that the answer begins with.
fn lowest(answer: &[IpAddr], wanted: fn(&IpAddr) -> bool) -> Option<&IpAddr> {
    let first = answer.iter().find(|vip| wanted(vip))?;
    answer.iter().filter(|vip| wanted(vip) && vip.is_ipv4() == first.is_ipv4()).min()
}
