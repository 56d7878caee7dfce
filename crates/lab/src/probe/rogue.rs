//! A host that claims an address it was not given, as a misconfigured machine does: it announces and it answers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_core::names::Mac;
use mainstay_core::time::Moment;
use mainstay_wire::{ETHERTYPE_ARP, Kind, arp};
use socket2::Socket;

use super::echo::{ALL, RETURN};
use super::lock;
use crate::netns::Host;
use crate::sys::{self, Instruction};

/// A running rogue. Dropping it ends it.
#[derive(Debug)]
pub struct Rogue {
    sent: Arc<Mutex<Vec<Moment>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Rogue {
    /// Claims `address` from `host`: an unmarked gratuitous ARP (request and reply in turn) at once and then every
    /// `interval`, and an answer to every ARP request for it.
    ///
    /// # Errors
    /// If the host's packet socket cannot be made.
    pub fn start(host: &Host, address: Ipv4Addr, interval: Duration) -> Result<Self> {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let socket = host.enter(|| {
            let interface = sys::interface_index(host.device())?;
            sys::packet_socket(interface, ETHERTYPE_ARP, &[Instruction::new(RETURN, 0, 0, ALL)])
        })?;
        let voice = Voice {
            socket: socket.context("cannot open the rogue's packet socket")?,
            mac: host.mac(),
            address,
            sent: Arc::clone(&sent),
        };
        let ended = Arc::clone(&stop);
        let thread = host.spawn(move || voice.claim(interval, &ended))?;
        Ok(Self { sent, stop, thread: Some(thread) })
    }

    /// When each of its frames was sent, answers included.
    #[must_use]
    pub fn sent(&self) -> Vec<Moment> {
        lock(&self.sent).clone()
    }

    /// Ends it; when its last frame was sent.
    ///
    /// # Errors
    /// If it could not go on before it was told to end.
    pub fn finish(mut self) -> Result<Option<Moment>> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the rogue's thread panicked"))???;
        }
        Ok(self.sent().last().copied())
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(Err(error)) | Err(error))) => tracing::error!(%error, "a rogue ended early"),
            Some(Err(_)) => tracing::error!("a rogue's thread panicked"),
            _ => {}
        }
    }
}

struct Voice {
    socket: Socket,
    mac: Mac,
    address: Ipv4Addr,
    sent: Arc<Mutex<Vec<Moment>>>,
}

impl Voice {
    fn claim(&self, interval: Duration, stop: &AtomicBool) -> Result<()> {
        let mut next = sys::now();
        let forms = [arp::Operation::Request, arp::Operation::Reply];
        let mut forms = forms.iter().cycle();
        while !stop.load(Ordering::Relaxed) {
            if sys::now() >= next {
                let form = *forms.next().unwrap_or(&arp::Operation::Request);
                self.send(&arp::gratuitous(form, self.mac.0, self.address, None))?;
                next = next + interval;
            }
            // Gives up after 50 ms: announcements may be that much late, never lost.
            self.answer_one()?;
        }
        Ok(())
    }

    fn answer_one(&self) -> Result<()> {
        let mut buffer = [0; 256];
        let Some(arrival) = sys::receive_frame(&self.socket, &mut buffer).context("the rogue cannot hear")?
        else {
            return Ok(());
        };
        let Ok(asked) = mainstay_wire::parse(buffer.get(..arrival.length).unwrap_or(&buffer)) else {
            return Ok(());
        };
        let for_us = asked.kind == Kind::ArpRequest
            && asked.target == self.address
            && asked.sender != Some(asked.target);
        if !for_us {
            return Ok(());
        }
        self.send(&self.answer(asked.sender_mac, asked.sender))
    }

    /// An ARP reply (RFC 826) to one asker: the announcement, addressed to it.
    fn answer(&self, to: [u8; 6], asker: Option<std::net::IpAddr>) -> [u8; arp::FRAME_LEN] {
        let mut frame = arp::gratuitous(arp::Operation::Reply, self.mac.0, self.address, None);
        let ip = match asker {
            Some(std::net::IpAddr::V4(ip)) => ip,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        frame[..6].copy_from_slice(&to);
        frame[32..38].copy_from_slice(&to);
        frame[38..42].copy_from_slice(&ip.octets());
        frame
    }

    fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).context("the rogue cannot send")?;
        lock(&self.sent).push(sys::now());
        Ok(())
    }
}
