//! The VIP on the elector's interface, and its gratuitous ARP.

use std::net::Ipv4Addr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use mainstay_core::names::Mac;
use mainstay_wire::{ETHERTYPE_ARP, arp};
use socket2::Socket;

use super::{Journal, Step};
use crate::netns::Host;
use crate::sys::{self, Instruction};

/// `BPF_RET | BPF_K` with 0: this socket only speaks.
const HEAR_NOTHING: Instruction = Instruction::new(0x06, 0, 0, 0);

/// The VIP on one interface. Its commands run in the network namespace of the calling thread.
pub(super) struct Wearing {
    socket: Socket,
    device: &'static str,
    mac: Mac,
    vip: Ipv4Addr,
    /// Whether it is this elector's to wear.
    held: AtomicBool,
    /// kube-vip alternates between the two forms.
    as_reply: AtomicBool,
    journal: Journal,
}

impl Wearing {
    pub(super) fn new(host: &Host, vip: Ipv4Addr, journal: Journal) -> Result<Self> {
        let socket = host.enter(|| {
            let interface = sys::interface_index(host.device())?;
            sys::packet_socket(interface, ETHERTYPE_ARP, &[HEAR_NOTHING])
        })?;
        Ok(Self {
            socket: socket.context("cannot open the elector's packet socket")?,
            device: host.device(),
            mac: host.mac(),
            vip,
            held: AtomicBool::new(false),
            as_reply: AtomicBool::new(false),
            journal,
        })
    }

    /// As at kube-vip's start: the VIP goes, whoever put it there.
    pub(super) fn clear(&self) -> Result<()> {
        // There mostly is none, and the kernel says so.
        self.ip("del", &[]).map(drop)
    }

    pub(super) fn add(&self) -> Result<()> {
        self.held.store(true, Ordering::Relaxed);
        self.put()?;
        self.journal.note(Step::Added);
        Ok(())
    }

    pub(super) fn remove(&self) -> Result<()> {
        self.held.store(false, Ordering::Relaxed);
        let output = self.ip("del", &[])?;
        ensure!(output.status.success(), "cannot remove the VIP: {}", complaint(&output));
        self.journal.note(Step::Removed);
        Ok(())
    }

    /// One tick: the VIP is put back if somebody removed it, and announced once.
    pub(super) fn announce(&self) -> Result<()> {
        if !self.held.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.put()?;
        let reply = self.as_reply.fetch_xor(true, Ordering::Relaxed);
        let form = if reply { arp::Operation::Reply } else { arp::Operation::Request };
        self.socket
            .send(&arp::gratuitous(form, self.mac.0, self.vip, None))
            .context("the elector cannot announce")?;
        self.journal.note(Step::Announced);
        Ok(())
    }

    /// Never preferred, and valid for ever: it outlives whoever put it there.
    fn put(&self) -> Result<()> {
        let output = self.ip("replace", &["valid_lft", "forever", "preferred_lft", "0"])?;
        ensure!(output.status.success(), "cannot add the VIP: {}", complaint(&output));
        Ok(())
    }

    fn ip(&self, verb: &str, lifetimes: &[&str]) -> Result<Output> {
        let prefix = format!("{}/32", self.vip);
        let mut command = Command::new("ip");
        command.args(["address", verb, &prefix, "dev", self.device]).args(lifetimes);
        command.output().context("cannot start ip")
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
