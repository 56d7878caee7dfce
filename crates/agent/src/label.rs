//! The node's label: `enable_node_labeling`. What is wanted comes from the loop, which waits for nobody; the writing is
//! the Kubernetes adapter's. A task of its own, so that nothing that becomes of it reaches the Lease.

use anyhow::Context as _;
use mainstay_kube::{LabelStatus, NodeLabel};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::reply;
use crate::config::Config;
use crate::insight::ApiView;
use mainstay_core::settings::Authority;
use mainstay_core::vip::Vip;

/// What is known of the label, for people.
#[derive(Debug, Default)]
pub(crate) struct LabelView {
    /// `None` where nodes are not labelled.
    wanted: Option<Wanted>,
    status: watch::Sender<LabelStatus>,
}

impl LabelView {
    /// Of the label that the settings ask for, if they do.
    pub(crate) fn new(config: &Config, vips: watch::Receiver<Vec<Vip>>) -> Self {
        Self { wanted: Wanted::new(config, vips), status: watch::Sender::default() }
    }

    /// How it stands with the label, where there is to be one.
    pub(crate) fn read(&self) -> Option<reply::NodeLabel> {
        let label = self.wanted.as_ref()?.label()?.to_string();
        let LabelStatus { wanted, written, writes, failures_in_a_row, last_error } =
            self.status.borrow().clone();
        let last_error = last_error.map(|trouble| trouble.text);
        Some(reply::NodeLabel { label, wanted, written, writes, failures_in_a_row, last_error })
    }
}

/// The label that the settings ask for: that of the claim's first address, as a label has one value.
#[derive(Clone, Debug)]
struct Wanted {
    node: String,
    vips: watch::Receiver<Vec<Vip>>,
}

impl Wanted {
    fn new(config: &Config, vips: watch::Receiver<Vec<Vip>>) -> Option<Self> {
        let asked = config.features.label_node && config.authority == Authority::Lease;
        asked.then(|| Self { node: config.node.as_str().to_owned(), vips })
    }

    /// The label as it is at present; `None` as long as the address is unknown.
    fn label(&self) -> Option<NodeLabel> {
        Some(NodeLabel::has_ip(&self.node, *self.vips.borrow().first()?))
    }

    /// Waits until it is another.
    async fn changed(&mut self, from: Option<&NodeLabel>) {
        while self.label().as_ref() == from {
            if self.vips.changed().await.is_err() {
                // Nobody resolves names any more: it stays as it is.
                return std::future::pending().await;
            }
        }
    }
}

/// What every run of the task begins with.
pub(crate) struct Keeper {
    wanted: Wanted,
    api: ApiView,
    /// Locked by the one run there is; released when it ends, also by a panic.
    held: Mutex<watch::Receiver<Option<bool>>>,
    ended: CancellationToken,
}

impl Keeper {
    /// One for the label that the settings ask for, if they do. `ended` is cancelled when the loop has ended and the
    /// label's last state was written, or will not be.
    pub(crate) fn new(
        (config, vips): (&Config, watch::Receiver<Vec<Vip>>),
        api: ApiView,
        held: watch::Receiver<Option<bool>>,
        ended: CancellationToken,
    ) -> Option<Self> {
        Some(Self { wanted: Wanted::new(config, vips)?, api, held: Mutex::new(held), ended })
    }

    /// Keeps the label by way of whichever lease adapter runs.
    ///
    /// # Errors
    /// When there will be no other adapter: the agent ends.
    pub(crate) async fn run(&self, view: &LabelView) -> anyhow::Result<()> {
        let mut held = self.held.lock().await;
        let mut handles = self.api.subscribe();
        let mut wanted = self.wanted.clone();
        loop {
            let label = wanted.label();
            let labeller = handles.borrow_and_update().as_ref().map(|handles| handles.labeller.clone());
            let kept = async {
                match (labeller, &label) {
                    (Some(labeller), Some(label)) => labeller.keep(label, &mut held, &view.status).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = kept => {
                    self.ended.cancel();
                    return std::future::pending().await;
                }
                () = wanted.changed(label.as_ref()) => {}
                changed = handles.changed() => changed.context("there is no lease adapter any more")?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The VIP comes from a name: there is no label before its first answer, and another with another address.
    #[tokio::test(start_paused = true)]
    async fn the_label_follows_the_first_address() {
        let (vips, seen) = watch::channel(Vec::new());
        let mut wanted = Wanted { node: "node-a".to_owned(), vips: seen };
        assert_eq!(wanted.label(), None);
        let vip = |last: u8| Vip::from([10, 0, 0, last]);
        vips.send(vec![vip(100)]).expect("somebody looks");
        wanted.changed(None).await;
        let label = wanted.label();
        assert_eq!(
            label.as_ref().map(NodeLabel::to_string).as_deref(),
            Some("kube-vip.io/has-ip=10.0.0.100")
        );
        vips.send(vec![vip(100), vip(101)]).expect("somebody looks");
        let soon = std::time::Duration::from_secs(1);
        let changed = tokio::time::timeout(soon, wanted.changed(label.as_ref())).await;
        assert!(changed.is_err(), "the first is the same");
        vips.send(vec![vip(101)]).expect("somebody looks");
        wanted.changed(label.as_ref()).await;
        assert_eq!(
            wanted.label().map(|label| label.to_string()).as_deref(),
            Some("kube-vip.io/has-ip=10.0.0.101")
        );
    }
}
