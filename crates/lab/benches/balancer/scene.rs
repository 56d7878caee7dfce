//! A client, a holder of the VIP with the agent and with haproxy, and three backends.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mainstay_lab::cluster::{VIP, wait_for};
use mainstay_lab::netns::{Addresses, Host, Process, Segment};

use crate::load::{self, ask};

/// What clients connect to at the VIP, and at haproxy; what backends listen on.
const PORT: u16 = 6443;
const HAPROXY_PORT: u16 = 8443;
const BEHIND: u16 = 7443;
/// The client's number.
const CLIENT: u8 = 20;
/// How many backends.
pub(crate) const BACKENDS: u8 = 3;
/// `backend_health_check_interval`, and `MAINSTAY_LB_RISE`.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const RISE: u32 = 2;
/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Scene {
    // They end before their hosts.
    agent: Process,
    haproxy: Process,
    backends: Vec<Option<Process>>,
    pub(crate) client: Host,
    hosts: Vec<Host>,
    holder: Host,
    _segment: Segment,
    scratch: PathBuf,
    began: Instant,
}

impl Scene {
    pub(crate) fn open() -> Result<Self> {
        let scratch = std::env::temp_dir().join(format!("mainstay-bench-lb-{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        let segment = Segment::new("lb")?;
        segment.enter_switch(bridge_alone)??;
        let host = |name: &str, number| segment.host(name, Addresses::numbered(number));
        let (client, holder) = (host("client", CLIENT)?, host("holder", 10)?);
        let hosts: Vec<Host> =
            (1..=BACKENDS).map(|number| host(&format!("b{number}"), number)).collect::<Result<_>>()?;
        route_through(&holder, &client, &hosts)?;
        let backends = hosts.iter().zip(1..).map(|(host, number)| serve(host, number).map(Some));
        let backends: Vec<Option<Process>> = backends.collect::<Result<_>>()?;
        let agent = start_agent(&holder, &hosts, &scratch)?;
        let haproxy = start_haproxy(&holder, &hosts, &scratch)?;
        let scene = Self {
            agent,
            haproxy,
            backends,
            client,
            hosts,
            holder,
            _segment: segment,
            scratch,
            began: Instant::now(),
        };
        for target in [scene.vip(), scene.haproxy()] {
            scene.wait_all(target)?;
        }
        Ok(scene)
    }

    pub(crate) fn say(&self, what: &str) {
        // A closed pipe is no reason to stop measuring.
        drop(writeln!(std::io::stderr(), "[{:>4} s] {what}", self.began.elapsed().as_secs()));
    }

    /// The VIP's port that is balanced.
    pub(crate) fn vip(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(VIP), PORT)
    }

    /// haproxy's, on the same host.
    pub(crate) fn haproxy(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.holder.ipv4()), HAPROXY_PORT)
    }

    /// The backends themselves.
    pub(crate) fn direct(&self) -> Vec<SocketAddr> {
        self.hosts.iter().map(|host| SocketAddr::new(IpAddr::V4(host.ipv4()), BEHIND)).collect()
    }

    /// The backends by addresses that are reached through the holder, which only passes packets on, both ways: what any
    /// balancer on a host of its own costs at least.
    pub(crate) fn routed(&self) -> Vec<SocketAddr> {
        (1..=BACKENDS).map(|number| SocketAddr::new(IpAddr::V4(behind(number)), BEHIND)).collect()
    }

    /// Waits until all backends answer at `target`.
    pub(crate) fn wait_all(&self, target: SocketAddr) -> Result<()> {
        let all = || {
            let asked: Vec<load::Asked> =
                self.client.enter(|| (0..2 * BACKENDS).map(|_| ask(target)).collect())?;
            Ok((load::shares(&asked).len() == usize::from(BACKENDS)).then_some(()))
        };
        wait_for(PATIENCE, all)?.with_context(|| format!("not all backends answer at {target}"))
    }

    /// Kills a backend's process.
    pub(crate) fn kill(&mut self, backend: usize) -> Result<()> {
        let process = self.backends[backend].take().context("it runs")?;
        let mut process = process;
        process.kill().map(drop)
    }

    /// Starts it again, and waits until it listens.
    pub(crate) fn revive(&mut self, backend: usize) -> Result<()> {
        self.backends[backend] = Some(serve(&self.hosts[backend], u8::try_from(backend)? + 1)?);
        let target = self.direct()[backend];
        let listens = || self.client.enter(|| ask(target).answer.ok());
        wait_for(PATIENCE, listens)?.context("the backend listens").map(drop)
    }

    /// Kills the agent: what is in the kernel stays.
    pub(crate) fn kill_agent(&mut self) -> Result<()> {
        self.agent.kill().map(drop)
    }

    /// Ends haproxy, so that it checks nothing any more.
    pub(crate) fn end_haproxy(&mut self) -> Result<()> {
        self.haproxy.kill().map(drop)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.scratch));
    }
}

/// A backend's address behind the holder, and the client's.
const fn behind(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 79, 0, number)
}

/// Gives the client and the backends each an address that the others reach through the holder.
fn route_through(holder: &Host, client: &Host, hosts: &[Host]) -> Result<()> {
    let ends: Vec<(&Host, String)> = hosts
        .iter()
        .zip(1..)
        .map(|(host, number)| (host, behind(number).to_string()))
        .chain([(client, behind(CLIENT).to_string())])
        .collect();
    for (host, address) in &ends {
        host.output("ip", &["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
        let (via, onward) = (holder.ipv4().to_string(), host.ipv4().to_string());
        host.output("ip", &["route", "add", "10.79.0.0/24", "via", &via, "src", address])?;
        holder.output("ip", &["route", "add", address, "via", &onward])?;
    }
    Ok(())
}

/// The bridge stands for a switch, which does not hand what passes it to a firewall (`br_netfilter`): that would cost more
/// than all else, and twice where packets pass it twice.
fn bridge_alone() -> Result<()> {
    for tables in ["iptables", "ip6tables", "arptables"] {
        let path = PathBuf::from(format!("/proc/sys/net/bridge/bridge-nf-call-{tables}"));
        if path.exists() {
            fs::write(&path, "0").with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn serve(host: &Host, number: u8) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--serve", &number.to_string(), &BEHIND.to_string()]).stdin(Stdio::null());
    host.run(command)
}

/// The release build, without an election: it holds the VIP, checks the backends, and has the kernel balance.
fn start_agent(holder: &Host, hosts: &[Host], scratch: &Path) -> Result<Process> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mainstay = target.join("release/mainstay");
    ensure!(mainstay.exists(), "{} is missing: run `make bench-lb`, which builds it", mainstay.display());
    let backends: Vec<String> = hosts.iter().map(|host| format!("{}:{BEHIND}", host.ipv4())).collect();
    let log = File::create(scratch.join("agent.log"))?;
    let mut command = Command::new(mainstay);
    command.arg("run").env_clear().envs([
        ("cp_enable", "true"),
        ("vip_arp", "true"),
        ("vip_interface", holder.device()),
        ("vip_nodename", holder.name()),
        ("lb_enable", "true"),
        ("lb_fwdmethod", "masquerade"),
        ("MAINSTAY_LB_CHECK", "tcp"),
        ("prometheus_server", ""),
    ]);
    command.envs([
        ("address", VIP.to_string()),
        ("lb_port", PORT.to_string()),
        ("MAINSTAY_LB_BACKENDS", backends.join(",")),
        ("MAINSTAY_LB_RISE", RISE.to_string()),
        ("backend_health_check_interval", INTERVAL.as_secs().to_string()),
        ("MAINSTAY_STATE_DIR", scratch.join("state").display().to_string()),
        ("MAINSTAY_ADMIN_SOCKET", scratch.join("agent.sock").display().to_string()),
    ]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    holder.run(command)
}

/// Debian's, in TCP mode, as its documentation has it for API servers.
fn start_haproxy(holder: &Host, hosts: &[Host], scratch: &Path) -> Result<Process> {
    let servers: Vec<String> = hosts
        .iter()
        .map(|host| format!("    server {} {}:{BEHIND} check inter 1s\n", host.name(), host.ipv4()))
        .collect();
    let text = format!(
        "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    \
         timeout server 60s\nlisten api\n    bind :{HAPROXY_PORT}\n    balance roundrobin\n{}",
        servers.concat()
    );
    let file = scratch.join("haproxy.cfg");
    fs::write(&file, text)?;
    let log = File::create(scratch.join("haproxy.log"))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    holder.run(command).context("haproxy: install Debian's")
}
