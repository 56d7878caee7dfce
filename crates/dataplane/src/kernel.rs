//! The port to the kernel's addresses, and how an order is carried out through it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use mainstay_core::vip::Vip;

use crate::plan::{self, Owner, Present, Step};

#[cfg(test)]
mod tests;

/// What carrying out an order needs of a kernel: one interface's addresses.
pub trait Kernel {
    /// All addresses on the interface.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer, or the interface is gone.
    fn addresses(&mut self) -> Result<Vec<Present>, KernelError>;

    /// Makes one change.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it, or does not answer.
    fn apply(&mut self, step: &Step) -> Result<(), KernelError>;

    /// Whether it answers for an address that it has taken, and delivers what comes for it.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    fn delivers(&mut self, vip: Vip) -> Result<bool, KernelError>;
}

/// Why the kernel did not do something.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// What is to be added is there, or what is to be changed is not: somebody was faster. Read again.
    #[error("it changed meanwhile")]
    Raced,
    /// The kernel's refusal.
    #[error("{what}: {cause}")]
    Refused {
        /// What was asked.
        what: String,
        /// The kernel's words.
        cause: io::Error,
    },
    /// The socket to the kernel failed, or no answer came in time. Open another and ask again.
    #[error("netlink, {what}: {cause}")]
    Broken {
        /// What was asked.
        what: String,
        /// What went wrong.
        cause: io::Error,
    },
}

/// Why one of the project's tables of nftables is not as it should be. What was in force stays.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A table has the name, and is somebody else's.
    #[error(
        "the nftables table {table} is there, and is not Mainstay's: rename or delete it (nft delete table {table})"
    )]
    NotOurs {
        /// Its family and name.
        table: String,
    },
    /// The kernel lacks a part of what the table is made of.
    #[error(
        "this kernel cannot do all that the load balancer's table needs: load nft_nat, nft_masq, nft_numgen, nft_hash, nft_reject_inet and nft_ct on the host (Linux 5.2 or later)"
    )]
    Unable,
    /// The kernel does not do it, or does not answer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no netlink socket to be had.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] io::Error),
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The addresses for which the kernel did it, or had it so already.
    pub done: Vec<Vip>,
    /// The others, each with why; empty when all is as ordered.
    pub failed: BTreeMap<Vip, String>,
}

impl Applied {
    /// The order failed for all of these, for one reason.
    pub(crate) fn refused(vips: &[Vip], why: &str) -> Self {
        Self { done: Vec::new(), failed: vips.iter().map(|vip| (*vip, why.to_owned())).collect() }
    }

    /// All failures in one line, one that several addresses share only once; `Ok` if there are none.
    ///
    /// # Errors
    ///
    /// The line.
    pub fn outcome(&self) -> Result<(), String> {
        if self.failed.is_empty() { Ok(()) } else { Err(in_one_line(self.failed.values())) }
    }

    /// Notes which of `late` are delivered to now; the rest.
    fn note_delivered(&mut self, kernel: &mut impl Kernel, late: Vec<Vip>) -> Vec<Vip> {
        let mut left = Vec::new();
        for vip in late {
            match kernel.delivers(vip) {
                Ok(false) => left.push(vip),
                Ok(true) => self.done.push(vip),
                Err(error) => self.note(vip, Err(error.to_string())),
            }
        }
        left
    }

    fn note(&mut self, vip: Vip, result: Result<(), String>) {
        match result {
            Ok(()) => self.done.push(vip),
            Err(words) => {
                self.failed.insert(vip, words);
            }
        }
    }
}

/// Reasons in one line, none twice.
pub(crate) fn in_one_line<'a>(reasons: impl Iterator<Item = &'a String>) -> String {
    let different: BTreeSet<&str> = reasons.map(String::as_str).collect();
    different.into_iter().collect::<Vec<_>>().join("; ")
}

/// Puts every address of `vips` there with `lifetime`. One that fails does not stop the others.
pub fn assign(kernel: &mut impl Kernel, vips: &[Vip], lifetime: Duration) -> Applied {
    carry_out(kernel, vips, |vip, present| {
        plan::assign(vip, lifetime, present).map(Some).map_err(|refused| refused.to_string())
    })
}

/// Waits until the kernel delivers to all that it has taken, for as long as `pause` says so; the others have failed then.
/// Those that are ready at once do not wait for the rest: `early` is told of them.
pub fn await_delivery(
    kernel: &mut impl Kernel,
    taken: Applied,
    early: impl FnOnce(Applied),
    mut pause: impl FnMut() -> bool,
) -> Applied {
    let mut applied = Applied { done: Vec::new(), failed: taken.failed };
    let mut late = taken.done;
    late = applied.note_delivered(kernel, late);
    if !late.is_empty() && !applied.done.is_empty() {
        early(applied.clone());
    }
    while !late.is_empty() && pause() {
        late = applied.note_delivered(kernel, late);
    }
    let why = |vip: &Vip| format!("{vip}: the kernel has it, and does not deliver to it yet");
    applied.failed.extend(late.iter().map(|vip| (*vip, why(vip))));
    applied
}

/// Takes every address of `vips` away that is there and ours.
pub fn withdraw(kernel: &mut impl Kernel, vips: &[Vip]) -> Applied {
    carry_out(kernel, vips, |vip, present| Ok(plan::withdraw(vip, present)))
}

type Planned = Result<Option<Step>, String>;

fn carry_out(kernel: &mut impl Kernel, vips: &[Vip], plan: impl Fn(Vip, &[Present]) -> Planned) -> Applied {
    let mut applied = Applied::default();
    let present = match kernel.addresses() {
        Ok(present) => Inventory::new(present),
        Err(error) => return Applied::refused(vips, &error.to_string()),
    };
    for vip in vips {
        let result = one(kernel, *vip, &present.about(*vip), &plan);
        applied.note(*vip, result);
    }
    applied
}

/// What is on the interface, ready to be asked for one address after another: of thousands, most are ours.
struct Inventory {
    /// By address.
    ours: Vec<Present>,
    others: Vec<Present>,
}

impl Inventory {
    fn new(present: Vec<Present>) -> Self {
        let (mut ours, others): (Vec<Present>, Vec<Present>) =
            present.into_iter().partition(|one| one.owner == Owner::Ours);
        ours.sort_by_key(|one| one.ip);
        Self { ours, others }
    }

    /// All that a plan for one address depends on: what there is of it, and what is not ours.
    fn about(&self, vip: Vip) -> Vec<Present> {
        let from = self.ours.partition_point(|one| one.ip < vip);
        let named = self.ours.iter().skip(from).take_while(|one| one.ip == vip);
        named.chain(&self.others).copied().collect()
    }
}

/// One address; read again and planned anew once, should somebody have been faster.
fn one(
    kernel: &mut impl Kernel,
    vip: Vip,
    present: &[Present],
    plan: impl Fn(Vip, &[Present]) -> Planned,
) -> Result<(), String> {
    let Some(step) = plan(vip, present)? else { return Ok(()) };
    match kernel.apply(&step) {
        Err(KernelError::Raced) => {}
        other => return other.map_err(|error| error.to_string()),
    }
    let present = kernel.addresses().map_err(|error| error.to_string())?;
    let Some(step) = plan(vip, &present)? else { return Ok(()) };
    kernel.apply(&step).map_err(|error| format!("{vip}: {error}"))
}
