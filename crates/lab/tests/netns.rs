//! Hosts as namespaces: made, broken and removed on a real kernel.
#![expect(clippy::unwrap_used, reason = "a test bed that cannot be made fails its test")]

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mainstay_lab::netns::{self, Addresses, Filter, HolderWatch, Host, Presence, Segment};
use mainstay_lab::probe;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));

/// Whether the test can run here; says why not.
fn privileged() -> bool {
    match netns::ensure_privilege() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            false
        }
    }
}

fn pair(hint: &str) -> (Segment, Host, Host) {
    let segment = Segment::new(hint).unwrap();
    let one = segment.host("n1", Addresses::numbered(11)).unwrap();
    let other = segment.host("n2", Addresses::numbered(12)).unwrap();
    (segment, one, other)
}

fn pings(from: &Host, to: IpAddr) -> bool {
    probe::ping(from, to, Duration::from_millis(300)).unwrap().is_some()
}

/// Waits until `condition` holds, ten seconds at most.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exists(namespace: &str) -> bool {
    std::path::Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn hosts_reach_each_other_and_are_removed() {
    if !privileged() {
        return;
    }
    let begun = Instant::now();
    let segment = Segment::new("basic").unwrap();
    let hosts: Vec<Host> =
        (1..=5).map(|n| segment.host(&format!("n{n}"), Addresses::numbered(10 + n)).unwrap()).collect();
    eprintln!("five hosts in {:?}", begun.elapsed());
    for host in &hosts[1..] {
        assert!(pings(&hosts[0], host.ipv4().into()), "IPv4 to {}", host.name());
        assert!(pings(&hosts[0], host.ipv6().into()), "IPv6 to {}", host.name());
    }
    assert!(segment.host("n1", Addresses::numbered(99)).is_err(), "a second host of one name");
    let names: Vec<String> = hosts.iter().map(|host| host.namespace().to_owned()).collect();
    // A host's handle and a process inside must not keep a namespace alive.
    let mut sleeper = hosts[0].run(sleep_command()).unwrap();
    let begun = Instant::now();
    drop(segment);
    eprintln!("removed in {:?}", begun.elapsed());
    assert!(!names.iter().any(|name| exists(name)));
    eventually("the process inside has ended", || sleeper.try_wait().unwrap().is_some());
}

fn sleep_command() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600");
    command
}

#[test]
fn a_panic_removes_too() {
    if !privileged() {
        return;
    }
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let result = std::thread::spawn(move || {
        let (_segment, one, _) = pair("panic");
        sender.send(one.namespace().to_owned()).unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(result.is_err());
    assert!(!exists(&receiver.recv().unwrap()));
}

#[test]
fn each_fault_acts_and_can_be_taken_back() {
    if !privileged() {
        return;
    }
    let (segment, one, other) = pair("faults");
    let reach = |from: &Host, to: &Host| pings(from, to.ipv4().into());
    assert!(reach(&one, &other));
    type Act = fn(&Segment, &Host, &Host) -> anyhow::Result<()>;
    let faults: [(&str, Act, Act); 6] = [
        ("port down", |s, a, _| s.port_down(a), |s, a, _| s.port_up(a)),
        ("partition", |s, a, _| s.partition(a), |s, a, _| s.heal(a)),
        ("one way", |s, a, b| s.drop_from(a, b), |s, _, _| s.lift_all()),
        ("cut", |s, a, b| s.cut_between(a, b), |s, _, _| s.lift_all()),
        ("isolated", |s, a, _| s.isolate(a), |s, _, _| s.lift_all()),
        ("loss", |s, a, _| s.loss(a, 100), |s, a, _| s.loss(a, 0)),
    ];
    for (name, act, undo) in faults {
        let begun = Instant::now();
        act(&segment, &one, &other).unwrap();
        eprintln!("{name}: {:?}", begun.elapsed());
        assert!(!reach(&one, &other), "{name}: does nothing");
        assert!(!reach(&other, &one), "{name}: an answer came back");
        undo(&segment, &one, &other).unwrap();
        eventually(name, || reach(&one, &other));
    }
}

#[test]
fn carrier_is_lost_by_port_down_and_kept_by_a_partition() {
    if !privileged() {
        return;
    }
    let (segment, one, _other) = pair("carrier");
    let lower_up = || one.output("ip", &["link", "show", "eth0"]).unwrap().contains("LOWER_UP");
    assert!(lower_up());
    segment.partition(&one).unwrap();
    assert!(lower_up());
    segment.heal(&one).unwrap();
    segment.port_down(&one).unwrap();
    assert!(!lower_up());
    segment.port_up(&one).unwrap();
    assert!(lower_up());
}

#[test]
fn a_cut_spares_the_others_and_one_way_spares_the_other_way() {
    if !privileged() {
        return;
    }
    let (segment, one, other) = pair("cut");
    let client = segment.host("client", Addresses::numbered(50)).unwrap();
    segment.cut_between(&one, &other).unwrap();
    assert!(!pings(&one, other.ipv4().into()));
    assert!(pings(&client, one.ipv4().into()) && pings(&client, other.ipv4().into()));
    segment.lift_all().unwrap();
    segment.drop_from(&one, &other).unwrap();
    // The way back is open: other's frames arrive at one, which one's kernel counts.
    let received = || one.output("cat", &["/proc/net/snmp"]).map(|text| echoes_received(&text)).unwrap();
    // Resolution needs both ways, so the entry is given.
    let mac = one.mac().to_string();
    other
        .output("ip", &["neigh", "replace", &one.ipv4().to_string(), "lladdr", &mac, "dev", "eth0"])
        .unwrap();
    let before = received();
    assert!(!pings(&other, one.ipv4().into()));
    assert_eq!(received(), before + 1);
}

/// `InEchos` of /proc/net/snmp.
fn echoes_received(snmp: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split_whitespace().position(|name| name == "InEchos").unwrap();
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

#[test]
fn loss_loses_about_its_share() {
    if !privileged() {
        return;
    }
    let (segment, one, other) = pair("loss");
    assert!(pings(&one, other.ipv4().into()));
    segment.loss(&other, 30).unwrap();
    let from = probe::now();
    let plan =
        probe::Plan { forget_every: Duration::from_secs(600), ..probe::Plan::new(other.ipv4().into()) };
    let probe = probe::Probe::start(&one, plan).unwrap();
    eventually("600 echoes", || probe.report(from, probe::now()).sent >= 600);
    let report = probe.settled_report(from, probe::now());
    let share = report.lost * 100 / report.sent;
    // 30 % in each direction: 51 % of round trips; six standard deviations of 600 trials are 12 %.
    assert!((39..=63).contains(&share), "{report:?}");
}

#[test]
fn a_black_holed_port_hangs_and_others_answer() {
    if !privileged() {
        return;
    }
    let (segment, client, server) = pair("blackhole");
    let address = |port| (IpAddr::from(server.ipv4()), port).into();
    let _hung = server.bind_tcp(address(6443)).unwrap();
    let _open = server.bind_tcp(address(6444)).unwrap();
    let connect = |port| {
        client
            .enter(|| std::net::TcpStream::connect_timeout(&address(port), Duration::from_millis(400)))
            .unwrap()
    };
    connect(6443).unwrap();
    segment.drop_tcp(&server, 6443).unwrap();
    assert_eq!(connect(6443).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    connect(6444).unwrap();
    assert!(pings(&client, server.ipv4().into()));
    segment.lift(&Filter::TcpPort { host: "n2".to_owned(), port: 6443 }).unwrap();
    connect(6443).unwrap();
}

#[test]
fn holders_are_told_by_the_kernels() {
    if !privileged() {
        return;
    }
    let (segment, one, other) = pair("holders");
    let watch = HolderWatch::start(&segment.hosts()).unwrap();
    assert!(watch.holders(VIP).is_empty());
    assert_eq!(watch.holders(one.ipv4().into()), ["n1".to_owned()].into());
    let vip = format!("{VIP}/32");
    one.output("ip", &["addr", "add", &vip, "dev", "eth0", "valid_lft", "60", "preferred_lft", "0"]).unwrap();
    other.output("ip", &["addr", "add", &vip, "dev", "lo"]).unwrap();
    assert!(one.holds(VIP).unwrap() && other.holds(VIP).unwrap());
    let held = one.addresses().unwrap().into_iter().find(|held| held.address == VIP).unwrap();
    assert_eq!((held.prefix_length, held.preferred), (32, Some(Duration::ZERO)));
    assert!(held.valid.unwrap() <= Duration::from_secs(60));
    // A refresh is no change.
    one.output("ip", &["addr", "change", &vip, "dev", "eth0", "valid_lft", "50", "preferred_lft", "0"])
        .unwrap();
    one.output("ip", &["addr", "del", &vip, "dev", "eth0"]).unwrap();
    eventually("three changes", || watch.timeline_of(VIP).len() == 3);
    let told: Vec<_> =
        watch.timeline_of(VIP).into_iter().map(|change| (change.host, change.presence)).collect();
    let expected = [("n1", Presence::Held), ("n2", Presence::Held), ("n1", Presence::Absent)]
        .map(|(n, p)| (n.to_owned(), p));
    assert_eq!(told, expected);
    let all = watch.timeline_of(VIP);
    let overlap = watch.overlaps(VIP, all[0].at, all[2].at + Duration::from_secs(1));
    assert_eq!((overlap.len(), overlap[0].from, overlap[0].to), (1, all[1].at, all[2].at));
}

#[test]
fn processes_stop_go_on_and_die() {
    if !privileged() {
        return;
    }
    let (_segment, one, _) = pair("processes");
    let mut sleeper = one.run(sleep_command()).unwrap();
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    sleeper.freeze().unwrap();
    eventually("stopped", || state(sleeper.id()) == 'T');
    sleeper.thaw().unwrap();
    eventually("running", || state(sleeper.id()) == 'S');
    assert!(
        one.output("ip", &["netns", "identify", &sleeper.id().to_string()])
            .unwrap()
            .contains(one.namespace())
    );
    assert!(!sleeper.kill().unwrap().success());
    assert!(sleeper.freeze().is_err());
}

/// The other half of the test below: makes a segment, says so, and waits to be killed.
#[test]
fn half_that_is_interrupted() {
    if std::env::var_os("MAINSTAY_LAB_INTERRUPTED").is_none() || !privileged() {
        return;
    }
    let (_segment, one, _other) = pair("victim");
    let _sleeper = one.run(sleep_command()).unwrap();
    eprintln!("ready {}", one.namespace());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn signals_leave_nothing_behind() {
    if !privileged() {
        return;
    }
    for signal in ["-INT", "-TERM", "-KILL"] {
        // A shell's background job ignores SIGINT, and whatever it starts inherits that.
        let mut half = Command::new("env")
            .arg("--default-signal=INT")
            .arg(std::env::current_exe().unwrap())
            .args(["half_that_is_interrupted", "--exact", "--nocapture"])
            .env("MAINSTAY_LAB_INTERRUPTED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(half.stderr.take().unwrap()));
        let ready =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
        let namespace = ready.unwrap();
        assert!(exists(&namespace));
        // As Ctrl-C does it: the signal goes to the whole group.
        let group = format!("-{}", half.id());
        assert!(Command::new("kill").args([signal, "--", &group]).status().unwrap().success());
        half.wait().unwrap();
        let prefix = format!("ms{}-", half.id());
        eventually("everything of the killed process is gone", || {
            std::fs::read_dir("/run/netns")
                .unwrap()
                .flatten()
                .all(|entry| !entry.file_name().to_string_lossy().starts_with(&prefix))
        });
    }
}

#[test]
fn the_sweep_takes_only_what_is_stale_and_ours() {
    if !privileged() {
        return;
    }
    let (_segment, one, _other) = pair("sweep");
    // A pid that has just ended, and cannot come back within this test (numbers are dealt in turn).
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let stale = format!("ms{}-0-left-n1", ended.id());
    let foreign = format!("other-ms{}-0-x", std::process::id());
    for name in [&stale, &foreign] {
        assert!(Command::new("ip").args(["netns", "add", name]).status().unwrap().success());
    }
    let swept = Segment::sweep_stale();
    let kept = exists(&foreign);
    assert!(Command::new("ip").args(["netns", "delete", &foreign]).status().unwrap().success());
    assert!(swept.unwrap() >= 1);
    assert!(kept && !exists(&stale) && exists(one.namespace()));
}

#[test]
fn without_root_a_user_namespace_will_do() {
    if !privileged() {
        return;
    }
    let inside = std::env::var_os("MAINSTAY_LAB_ROOTLESS").is_some();
    if inside {
        return;
    }
    let try_it =
        "mount -t tmpfs none /run && exec \"$0\" hosts_reach_each_other_and_are_removed --exact --nocapture";
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
        ])
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", try_it])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Operation not permitted") && said.contains("unshare") {
        return eprintln!("skipped: the kernel allows no user namespaces: {said}");
    }
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(said.contains("five hosts in"), "it did not run: {said}");
}
