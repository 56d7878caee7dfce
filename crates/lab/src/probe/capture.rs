//! Every ARP and neighbour message on the segment, noted where it enters the bridge.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_core::names::Mac;
use mainstay_core::time::Moment;
use mainstay_wire::{Kind, Mark, Parsed};
use socket2::Socket;

use super::echo::{ALL, JUMP_EQUAL, LOAD_BYTE, LOAD_HALF, RETURN};
use super::lock;
use crate::netns::Segment;
use crate::sys::{self, Instruction};

/// Every EtherType (if_ether.h). Only a tap of all sees a port's frames before the bridge takes them.
const ETH_P_ALL: u16 = 3;

/// One message, noted at the port where it entered the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When the kernel received it.
    pub at: Moment,
    /// The host whose port it came in by: true whatever the frame says.
    pub host: String,
    /// The hardware address the message gives for its sender: clients learn this one.
    pub sender_mac: Mac,
    /// The Ethernet source.
    pub ethernet_source: Mac,
    /// The address spoken of: the sender's own in claims, the one asked for in questions.
    pub address: IpAddr,
    /// What it says.
    pub speech: Speech,
    /// Mainstay's mark, if it carries one.
    pub mark: Option<Mark>,
}

/// What a message says of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speech {
    /// Unasked: gratuitous ARP (request or reply), or an unsolicited advertisement.
    Announcement,
    /// Asked for: an ARP reply, or a solicited advertisement.
    Answer,
    /// An ARP request or a neighbour solicitation. The asker's own address is not noted.
    Question,
}

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    heard: Arc<Mutex<Vec<Heard>>>,
    malformed: Arc<Mutex<usize>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    /// Captures at every port that the segment has now, those of partitioned hosts included.
    ///
    /// # Errors
    /// If the packet socket cannot be made.
    pub fn start(segment: &Segment) -> Result<Self> {
        let ports = segment.ports()?;
        let socket = segment
            .enter_switch(|| sys::packet_socket(0, ETH_P_ALL, &neighbour_messages()))?
            .context("cannot open a packet socket on the bridge")?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let malformed = Arc::new(Mutex::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let ear = Ear { socket, ports, heard: Arc::clone(&heard), malformed: Arc::clone(&malformed) };
        let ended = Arc::clone(&stop);
        let listen = move || -> Result<()> {
            while !ended.load(Ordering::Relaxed) {
                ear.listen()?;
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(listen);
        Ok(Self {
            heard,
            malformed,
            stop,
            thread: Some(thread.context("cannot start the capture's thread")?),
        })
    }

    /// Everything heard so far, in order of arrival.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.heard).clone()
    }

    /// Messages that were no sound ARP or neighbour message.
    #[must_use]
    pub fn malformed(&self) -> usize {
        *lock(&self.malformed)
    }

    /// The announcements of `address` in `[from, to)`.
    #[must_use]
    pub fn announcements(&self, address: IpAddr, from: Moment, to: Moment) -> Vec<Heard> {
        let wanted = |heard: &&Heard| {
            heard.speech == Speech::Announcement && heard.address == address && (from..to).contains(&heard.at)
        };
        lock(&self.heard).iter().filter(wanted).cloned().collect()
    }

    /// The longest time within `[from, to)` in which nobody announced `address`.
    ///
    /// The time since the last announcement before the window counts; without one, the time since `from`. The time
    /// from the last announcement to `to` counts as well. Choose a window in which the address was held.
    #[must_use]
    pub fn longest_announcement_gap(&self, address: IpAddr, from: Moment, to: Moment) -> Duration {
        let times: Vec<Moment> =
            self.announcements(address, Moment::ZERO, to).iter().map(|heard| heard.at).collect();
        longest_gap(&times, from, to)
    }

    /// Which hardware addresses claimed `address` in `[from, to)`, by announcement or answer, and how often.
    #[must_use]
    pub fn claimants(&self, address: IpAddr, from: Moment, to: Moment) -> BTreeMap<Mac, usize> {
        let mut claimants = BTreeMap::new();
        for heard in lock(&self.heard).iter() {
            let claims = heard.speech != Speech::Question && heard.address == address;
            if claims && (from..to).contains(&heard.at) {
                *claimants.entry(heard.sender_mac).or_default() += 1;
            }
        }
        claimants
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => tracing::error!(%error, "a capture ended early"),
            Some(Err(_)) => tracing::error!("a capture's thread panicked"),
            _ => {}
        }
    }
}

fn longest_gap(times: &[Moment], from: Moment, to: Moment) -> Duration {
    let before = times.iter().copied().take_while(|at| *at <= from).last();
    let mut last = before.unwrap_or(from);
    let mut longest = Duration::ZERO;
    for at in times.iter().copied().filter(|at| *at > from && *at < to).chain([to]) {
        longest = longest.max(at.since(last));
        last = at;
    }
    longest
}

struct Ear {
    socket: Socket,
    ports: BTreeMap<u32, String>,
    heard: Arc<Mutex<Vec<Heard>>>,
    malformed: Arc<Mutex<usize>>,
}

impl Ear {
    /// Waits for one frame, for a while, and notes it.
    fn listen(&self) -> Result<()> {
        let mut buffer = [0; 2048];
        let arrival = sys::receive_frame(&self.socket, &mut buffer).context("cannot capture")?;
        let Some(arrival) = arrival.filter(|arrival| !arrival.outgoing) else {
            return Ok(());
        };
        // The bridge's own device repeats what its ports received.
        let Some(host) = self.ports.get(&arrival.interface) else {
            return Ok(());
        };
        let frame = buffer.get(..arrival.length).unwrap_or(&buffer);
        match mainstay_wire::parse(frame) {
            Ok(parsed) => lock(&self.heard).push(note(&parsed, arrival.at, host)),
            Err(_) => *lock(&self.malformed) += 1,
        }
        Ok(())
    }
}

fn note(parsed: &Parsed, at: Moment, host: &str) -> Heard {
    let speech = speech(parsed);
    let own = parsed.sender.filter(|_| speech != Speech::Question);
    Heard {
        at,
        host: host.to_owned(),
        sender_mac: Mac(parsed.sender_mac),
        ethernet_source: Mac(parsed.ethernet_source),
        address: own.unwrap_or(parsed.target),
        speech,
        mark: parsed.mark,
    }
}

fn speech(parsed: &Parsed) -> Speech {
    match parsed.kind {
        // RFC 5227 section 3: an announcement has its own address as both sender and target.
        Kind::ArpRequest | Kind::ArpReply if parsed.sender == Some(parsed.target) => Speech::Announcement,
        Kind::NeighbourAdvertisement { solicited: false, .. } => Speech::Announcement,
        Kind::ArpReply | Kind::NeighbourAdvertisement { .. } => Speech::Answer,
        Kind::ArpRequest | Kind::NeighbourSolicitation => Speech::Question,
    }
}

/// ARP, and ICMPv6 of type 135 or 136: echoes never wake the capture.
fn neighbour_messages() -> Vec<Instruction> {
    vec![
        Instruction::new(LOAD_HALF, 0, 0, 12),
        Instruction::new(JUMP_EQUAL, 6, 0, 0x0806),
        Instruction::new(JUMP_EQUAL, 0, 6, 0x86dd),
        Instruction::new(LOAD_BYTE, 0, 0, 20),
        Instruction::new(JUMP_EQUAL, 0, 4, 58),
        Instruction::new(LOAD_BYTE, 0, 0, 54),
        Instruction::new(JUMP_EQUAL, 1, 0, 135),
        Instruction::new(JUMP_EQUAL, 0, 1, 136),
        Instruction::new(RETURN, 0, 0, ALL),
        Instruction::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_reach_back_before_the_window_and_on_to_its_end() {
        let times = [1000, 4000, 7000].map(Moment::from_millis);
        let gap =
            |from, to| longest_gap(&times, Moment::from_millis(from), Moment::from_millis(to)).as_millis();
        assert_eq!(gap(3000, 8000), 3000);
        assert_eq!(gap(500, 2000), 1000);
        assert_eq!(gap(7500, 12_000), 5000);
        assert_eq!(gap(0, 500), 500);
    }
}
