//! The socket to the kernel's nftables: what is there, and transactions.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::kernel::{KernelError, TableError};
use crate::linux::message::Request;
use crate::linux::route::Route;
use crate::nftables::{
    Contents, Found, GET_ELEMENTS, GET_GENERATION, GET_RULE, GET_TABLE, INET, NotOurs, Table, changes,
    generation, request, transaction,
};

/// `NFTA_TABLE_NAME`, `NFTA_RULE_TABLE`, `NFTA_SET_ELEM_LIST_TABLE`: all the same.
const TABLE: u16 = 1;
/// `NFTA_SET_ELEM_LIST_SET`.
const SET: u16 = 2;

const READING: &str = "reading nftables";

/// The tables.
#[derive(Debug)]
pub(crate) struct Tables {
    socket: Route,
}

impl Tables {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Route::open_to(NETLINK_NETFILTER)? })
    }

    /// Which generation the rules of the whole namespace are: whoever changes any of them makes it another.
    pub(crate) fn generation(&mut self) -> Result<u32, KernelError> {
        let what = "asking nftables for its generation";
        let mut told = None;
        let ask = request(INET, GET_GENERATION, libc::NLM_F_ACK);
        self.socket.dump(ask, what, |message| told = told.or(generation(&message))).map_err(explained)?;
        let nothing = || io::Error::from(io::ErrorKind::InvalidData);
        told.ok_or_else(|| KernelError::Broken { what: what.to_owned(), cause: nothing() })
    }

    /// What there is under the name of `table`, but for elements.
    pub(crate) fn rules(&mut self, table: &Table) -> Result<Option<Found>, KernelError> {
        let Some(mut found) = self.find(table)? else { return Ok(None) };
        let rules = table.request(GET_RULE, libc::NLM_F_DUMP).with(TABLE, &terminated(table.name));
        self.socket.dump(rules, READING, |message| found.take_rule(&message, table.name)).map_err(raced)?;
        Ok(Some(found))
    }

    /// What there is under the name of `table`.
    pub(crate) fn read(&mut self, table: &Table) -> Result<Option<Found>, KernelError> {
        let Some(mut found) = self.rules(table)? else { return Ok(None) };
        for set in &table.sets {
            let about = table.request(GET_ELEMENTS, libc::NLM_F_DUMP).with(TABLE, &terminated(table.name));
            let elements = about.with(SET, &terminated(set.name));
            let read =
                self.socket.dump(elements, READING, |message| found.take_elements(&message, table.name));
            match read {
                // Of another form, which is replaced as a whole.
                Err(KernelError::Refused { cause, .. }) if is_missing(&cause) => {}
                read => read?,
            }
        }
        Ok(Some(found))
    }

    fn find(&mut self, table: &Table) -> Result<Option<Found>, KernelError> {
        let name = table.name;
        let ask = table.request(GET_TABLE, libc::NLM_F_ACK).with(TABLE, &terminated(name));
        let mut found = None;
        let asked = self
            .socket
            .dump(ask, READING, |message| found = found.take().or(Found::of_table(&message, name)));
        match asked {
            Err(KernelError::Refused { cause, .. }) if is_missing(&cause) => Ok(None),
            asked => asked.map(|()| found).map_err(explained),
        }
    }

    /// Makes the table hold `wanted`, or be gone. Whether anything had to be done.
    pub(crate) fn reconcile(&mut self, table: &Table, wanted: Option<&Contents>) -> Result<bool, TableError> {
        let found = self.read(table)?;
        self.change_found(table, found.as_ref(), wanted)
    }

    /// The same where it was read already.
    pub(crate) fn change_found(
        &mut self,
        table: &Table,
        found: Option<&Found>,
        wanted: Option<&Contents>,
    ) -> Result<bool, TableError> {
        let changes = changes(table, found, wanted)
            .map_err(|NotOurs| TableError::NotOurs { table: table.full_name() })?;
        let changed = !changes.is_empty();
        self.change(changes)?;
        Ok(changed)
    }

    /// Carries all of them out at once, or none.
    pub(crate) fn change(&mut self, requests: Vec<Request>) -> Result<(), KernelError> {
        if requests.is_empty() {
            return Ok(());
        }
        let done = self.socket.transact(transaction(requests), "changing nftables");
        done.map_err(raced).map_err(explained)
    }
}

/// How often a change is tried anew that somebody else's change came in between of.
const ATTEMPTS: usize = 3;

/// Somebody may flush what was just read: then the transaction fails as a whole, and all is read anew.
pub(crate) fn retry<T>(mut work: impl FnMut(&mut Tables) -> Result<T, TableError>) -> Result<T, TableError> {
    let mut attempt = || work(&mut Tables::open().map_err(TableError::Socket)?);
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(TableError::Kernel(KernelError::Raced)) => {}
            other => return other,
        }
    }
    attempt()
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

/// What was read is not so any more: somebody was faster, and all is to be read anew.
fn raced(error: KernelError) -> KernelError {
    const RACES: [i32; 4] = [libc::ENOENT, libc::EEXIST, libc::ERESTART, libc::EINTR];
    match error {
        KernelError::Refused { cause, .. }
            if cause.raw_os_error().is_some_and(|code| RACES.contains(&code)) =>
        {
            KernelError::Raced
        }
        other => other,
    }
}

/// The kernel's word with the remedy, where it has one.
fn explained(error: KernelError) -> KernelError {
    let KernelError::Refused { what, cause } = error else { return error };
    let remedy = match cause.raw_os_error() {
        Some(libc::EPERM) => "give the agent CAP_NET_ADMIN",
        Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            "this kernel has no nftables for this family of tables: load nf_tables, nft_ct and nf_conntrack on the host"
        }
        Some(libc::EMSGSIZE) => "too many addresses for one message: raise net.core.wmem_max on the host",
        _ => return KernelError::Refused { what, cause },
    };
    KernelError::Refused { what, cause: io::Error::new(cause.kind(), format!("{cause}; {remedy}")) }
}
