//! CAP_NET_ADMIN and CAP_NET_RAW are enough.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::effect::{Effect, Pace, ProbeTo};
use mainstay_core::filter::{Admission, Filter};
use mainstay_core::input::{EffectId, Outcome};
use mainstay_dataplane::clock::now;
use mainstay_dataplane::filter::{self, ServiceFilter};

use crate::support::{Pair, address_of, announce, assign, done, listen, open, text, withdraw};

/// Set for the copy of this test that runs without privileges.
const WITHIN: &str = "MAINSTAY_TEST_UNPRIVILEGED";

async fn everything() {
    let vips = [address_of("10.77.0.9"), address_of("fd77::9")];
    let mut plane = open().await;
    assert_eq!(plane.submit(listen(&vips, &[])), None);
    assert_eq!(done(&mut plane, assign(1, &vips, 15)).await, Outcome::Done);
    assert_eq!(plane.submit(announce(&vips, Pace::Burst)), None);
    let probe = Effect::Probe { id: EffectId(2), target: vips[0], to: ProbeTo::All, mark: None };
    assert!(matches!(done(&mut plane, probe).await, Outcome::Sent(_)));
    // The kernel needs a moment until it delivers to the second, and is waited for by nobody else.
    let both = async {
        while plane.counters().announced.len() < 2 {
            plane.next_until(now() + Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), both).await.expect("both are announced");
    let filtered = Filter(vips.map(|vip| (vip, Admission::Ports([].into()))).into());
    let in_force = ServiceFilter::default().put(&Arc::new(filtered)).expect("the kernel filters");
    assert_eq!(in_force.addresses, 2);
    filter::remove().expect("the kernel filters no more");
    assert_eq!(done(&mut plane, withdraw(3, &vips)).await, Outcome::Done);
}

#[test]
fn two_capabilities_are_enough() {
    if std::env::var_os(WITHIN).is_some() {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        // CAP_NET_ADMIN is bit 12, CAP_NET_RAW 13.
        assert!(status.contains("CapEff:\t0000000000003000"), "{status}");
        assert!(status.contains("CapBnd:\t0000000000003000"), "{status}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(everything());
    }
    let Some(pair) = Pair::new() else { return };
    // A copy where anybody may execute it.
    let program = std::env::temp_dir().join(&pair.a);
    std::fs::copy("/proc/self/exe", &program).expect("a copy of this test");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("permissions");
    let set = "-all,+net_admin,+net_raw";
    let output = Command::new("ip")
        .args(["netns", "exec", &pair.a, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([format!("--bounding-set={set}"), format!("--inh-caps={set}"), format!("--ambient-caps={set}")])
        .arg(&program)
        .args(["--exact", "privileges::two_capabilities_are_enough", "--nocapture"])
        .env(WITHIN, "1")
        .output();
    std::fs::remove_file(&program).expect("the copy is removed");
    let output = output.expect("setpriv is installed");
    let words = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && words.contains("1 passed"), "{words}");
}
