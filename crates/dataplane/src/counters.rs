//! What the data plane has done so far, in numbers that only grow.

use std::collections::BTreeMap;

use mainstay_core::time::Moment;
use mainstay_core::vip::Vip;

/// The numbers of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that passed the kernel's filter: all that this process was ever woken for.
    pub frames_read: u64,
    /// Of those, delivered.
    pub frames_delivered: u64,
    /// Of those, sent by this host itself.
    pub frames_own: u64,
    /// Of those, malformed, and ignored.
    pub frames_malformed: u64,
    /// Of those, about no address that is listened for: the filter had just been changed, or was too long.
    pub frames_unwanted: u64,
    /// Frames that passed the filter and found no room in the socket, for this process was too slow.
    pub frames_missed: u64,
    /// Announcements that a device took, by address.
    pub announced: BTreeMap<Vip, Announced>,
    /// Probes that a device took.
    pub probes_sent: u64,
    /// Frames that a device did not take.
    pub send_errors: u64,
    /// Errors of reading sockets.
    pub receive_errors: u64,
    /// Orders that the kernel refused or left unanswered.
    pub kernel_errors: u64,
    /// Times that the kernel's news was lost and everything was read anew.
    pub news_lost: u64,
    /// Addresses that went, and not by our order.
    pub removed: u64,
}

/// The announcements of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// How many frames.
    pub sent: u64,
    /// When the last one was handed to the device.
    pub last: Option<Moment>,
}

impl Counters {
    pub(crate) fn announced(&mut self, vip: Vip, now: Moment) {
        let one = self.announced.entry(vip).or_default();
        one.sent += 1;
        one.last = Some(now);
    }
}
