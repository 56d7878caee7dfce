//! How this host is to be found on the segment: its device, hardware address and own addresses, as the kernel tells of
//! them. All of it may change under a running agent: bonds fail over, interfaces are made anew, DHCP gives addresses.

use std::net::IpAddr;

use mainstay_core::input::{Input, Link};
use mainstay_core::names::Mac;
use mainstay_core::snapshot::Member;
use mainstay_core::time::Moment;

use super::Dataplane;
use crate::linux::clock;
use crate::linux::links::{self, LinkMessage, Survey};
use crate::plan;
use crate::segment::{Own, link_local};

/// Whether an address is known to be this host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
}

impl Dataplane {
    /// Compares what is known with all that the kernel has.
    pub(super) fn compare(&mut self, now: Moment, survey: &Survey) {
        self.segment.own.macs = links::macs(&survey.links);
        match survey.links.iter().find(|link| link.name == self.interface) {
            Some(link) => self.meet(link),
            None => self.set_link(Link::Down),
        }
        self.tell_own(Member {
            macs: vec![self.segment.own.mac],
            addresses: plan::own_addresses(&survey.addresses),
        });
        self.segment.own.link_local = link_local(survey.addresses.iter().map(|one| one.ip));
        for (vip, expired) in self.books.compare(now, &survey.addresses) {
            self.removed(vip, expired);
        }
    }

    pub(super) fn link_news(&mut self, link: &LinkMessage) {
        self.segment.own.macs.extend(link.mac.filter(|_| !link.gone));
        let is_ours = link.index == self.segment.own.index;
        if is_ours || link.name == self.interface {
            self.link_news += 1;
        }
        if link.gone && is_ours {
            self.set_link(Link::Down);
            for (vip, expired) in self.books.lose_all(clock::now()) {
                self.removed(vip, expired);
            }
        } else if !link.gone && (is_ours || link.name == self.interface) {
            self.meet(link);
        }
    }

    /// One of this host's own addresses came or went, if it is news: which ones there are is read anew.
    pub(super) fn own_address(&mut self, ip: IpAddr, news_if: Known) {
        let known = if self.told_own.addresses.contains(&ip) { Known::Yes } else { Known::No };
        if known == news_if {
            self.ask_survey();
        }
    }

    /// The interface as it is now: perhaps another device of the same name.
    fn meet(&mut self, link: &LinkMessage) {
        if link.name == self.interface && link.index != self.segment.own.index {
            self.move_to(link);
        }
        if let Some(mac) = link.mac.filter(|mac| *mac != self.segment.own.mac) {
            self.meet_mac(mac);
        }
        self.set_link(link.state);
    }

    /// The interface has another hardware address. Clients are told at once where we are now.
    fn meet_mac(&mut self, mac: Mac) {
        tracing::info!(interface = self.interface, %mac, "the interface has another hardware address");
        self.segment.own.mac = mac;
        self.segment.own.macs.insert(mac);
        self.books.announce_anew(clock::now());
        self.tell_own(Member { macs: vec![mac], addresses: self.told_own.addresses.clone() });
    }

    fn move_to(&mut self, link: &LinkMessage) {
        for (vip, expired) in self.books.lose_all(clock::now()) {
            self.removed(vip, expired);
        }
        let own = Own { index: link.index, link_local: None, ..self.segment.own.clone() };
        match self.segment.reopen(own) {
            Ok(()) => {
                // Its addresses are others, too.
                self.ask_survey();
                tracing::info!(interface = self.interface, index = link.index, "the interface is back");
            }
            Err(error) => {
                self.counters.receive_errors += 1;
                tracing::error!(interface = self.interface, %error, "cannot listen on the interface");
            }
        }
    }

    fn set_link(&mut self, state: Link) {
        if self.link == state {
            return;
        }
        self.link = state;
        self.ready.push_back(Input::Link(state));
        // Going down flushes IPv6 addresses, coming up makes a new link-local one.
        self.ask_survey();
    }

    fn tell_own(&mut self, own: Member) {
        if self.told_own != own {
            self.told_own = own.clone();
            self.ready.push_back(Input::Own(own));
        }
    }
}
