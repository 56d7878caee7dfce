//! The agents of a cluster or a stage: real processes, each in its host's namespace, asked only through what an operator has.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::wait_for;
use crate::netns::{Host, Process};

/// How long an agent may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(2);

/// The port of the agents' metrics.
const METRICS_PORT: u16 = 2112;

/// How the agents are configured.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The `mainstay` program.
    pub program: PathBuf,
    /// The VIP.
    pub vip: Ipv4Addr,
    /// `vip_leaseduration`, `vip_renewdeadline`, `vip_retryperiod`, in seconds.
    pub timing: (u32, u32, u32),
    /// `vip_loglevel`: 0 is information, -4 debug.
    pub log_level: i32,
    /// Further settings, by their environment variables.
    pub settings: Vec<(&'static str, String)>,
}

/// One node's agent: its files, and its process while it runs.
#[derive(Debug)]
pub struct Agent {
    host: Host,
    options: AgentOptions,
    kubeconfig: PathBuf,
    directory: PathBuf,
    log: PathBuf,
    settings: Vec<(&'static str, String)>,
    process: Option<Process>,
}

impl Agent {
    /// An agent that does not run yet. `directory` holds its state and socket, `log` its log.
    ///
    /// # Errors
    /// When its directory or its kubeconfig cannot be written.
    pub fn prepare(
        host: &Host,
        options: &AgentOptions,
        places: (&Path, &Path),
        access: &str,
    ) -> Result<Self> {
        let directory = places.0.join(host.name());
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let kubeconfig = directory.join("kubeconfig");
        let log = places.1.join(format!("agent-{}.log", host.name()));
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let agent = Self {
            host: host.clone(),
            options: options.clone(),
            kubeconfig,
            directory,
            log,
            settings: Vec::new(),
            process: None,
        };
        agent.give_access(access)?;
        Ok(agent)
    }

    /// Writes its kubeconfig: it counts from the next start on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn give_access(&self, kubeconfig: &str) -> Result<()> {
        std::fs::write(&self.kubeconfig, kubeconfig)
            .with_context(|| format!("cannot write {}", self.kubeconfig.display()))
    }

    /// Sets an environment variable in place of the laboratory's: it counts from the next start on.
    pub fn set(&mut self, variable: &'static str, value: &str) {
        self.settings.push((variable, value.to_owned()));
    }

    /// Starts it; its log is appended to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let log = OpenOptions::new().append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(&self.options.program);
        command.arg("run").env_clear().envs(self.environment()).envs(self.settings.iter().cloned());
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(self.host.run(command)?);
        Ok(())
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let (duration, deadline, retry) = self.options.timing;
        let switch = |name| (name, "true".to_owned());
        let mut environment = vec![
            switch("cp_enable"),
            switch("vip_arp"),
            switch("vip_leaderelection"),
            ("vip_interface", self.host.device().to_owned()),
            ("address", self.options.vip.to_string()),
            ("vip_nodename", self.host.name().to_owned()),
            ("vip_leaseduration", duration.to_string()),
            ("vip_renewdeadline", deadline.to_string()),
            ("vip_retryperiod", retry.to_string()),
            ("vip_loglevel", self.options.log_level.to_string()),
            ("k8s_config_file", self.kubeconfig.display().to_string()),
            ("prometheus_server", format!(":{METRICS_PORT}")),
            ("MAINSTAY_STATE_DIR", self.directory.join("state").display().to_string()),
            ("MAINSTAY_ADMIN_SOCKET", self.socket().display().to_string()),
        ];
        environment.extend(self.options.settings.iter().cloned());
        environment
    }

    /// The host it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process, while there is one.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// SIGKILL; nothing of it runs afterwards.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill().map(drop))
    }

    /// SIGTERM: it hands over and ends by itself.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.as_mut().context("the agent does not run")?.terminate()
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or does not end within `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        let process = self.process.as_mut().context("the agent does not run")?;
        process.terminate()?;
        let status = wait_for(limit, || process.try_wait())?.context("the agent does not end")?;
        self.process = None;
        Ok(status)
    }

    /// Whether it was started, and neither killed nor stopped since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// The claim in `/v1/status`, as `mainstay status -o json` shows it; `None` while it does not answer.
    #[must_use]
    pub fn status(&self) -> Option<Value> {
        status(&self.socket())
    }

    /// All of `/v1/status`; `Null` while it does not answer.
    #[must_use]
    pub fn whole_status(&self) -> Value {
        ask(&self.socket()).unwrap_or_default()
    }

    /// What it finds behind the VIP on its own host; `Null` while it does not answer, or looks for nothing.
    #[must_use]
    pub fn local_service(&self) -> Value {
        self.whole_status()["localService"].take()
    }

    /// What its metrics port answers to a GET of `path`, head and body.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn page(&self, path: &str) -> Result<String> {
        self.host.enter(|| scrape(SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT)), path))?
    }

    /// The sum of a counter of its metrics over the samples whose labels contain `label`.
    ///
    /// # Errors
    /// When nobody answers on the metrics port.
    pub fn counter(&self, name: &str, label: &str) -> Result<u64> {
        let page = self.page("/metrics")?;
        let samples = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(values.sum())
    }
}

/// The first claim of an agent's `/v1/status`; `None` while it does not answer.
#[must_use]
pub fn status(socket: &Path) -> Option<Value> {
    ask(socket)?.get("claims")?.get(0).cloned()
}

fn ask(socket: &Path) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

fn scrape(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("no agent serves metrics")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut page = String::new();
    stream.read_to_string(&mut page).context("the metrics broke off")?;
    Ok(page)
}
