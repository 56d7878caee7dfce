//! Processes of the lab: stopped, continued, killed and never left behind.

use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result};

/// A process of the lab's, mostly in a host's namespace. Dropping it kills it (SIGKILL) and reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
}

impl Process {
    /// Starts `command` in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child, program })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Freezes it (SIGSTOP): its kernel goes on answering, it does nothing.
    ///
    /// # Errors
    /// If it has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// Lets it go on after [`Process::freeze`] (SIGCONT).
    ///
    /// # Errors
    /// If it has ended.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// Asks it to end (SIGTERM); [`Process::wait`] for it.
    ///
    /// # Errors
    /// If it has ended.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// Asks it to read its files anew (SIGHUP), if that is what it takes the signal for.
    ///
    /// # Errors
    /// If it has ended.
    pub fn reload(&mut self) -> Result<()> {
        self.signal(libc::SIGHUP)
    }

    /// Kills it (SIGKILL) and waits for its end: nothing of it runs when this returns.
    ///
    /// # Errors
    /// If it cannot be reaped.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().with_context(|| format!("cannot kill {} ({})", self.program, self.id()))?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it cannot be reaped.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().with_context(|| format!("cannot wait for {}", self.program))
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot look at {}", self.program))
    }

    fn signal(&mut self, signal: libc::c_int) -> Result<()> {
        // An ended child that was reaped may have lent its number to another process: never signal that.
        if let Some(status) = self.try_wait()? {
            anyhow::bail!("{} has ended ({status}): it cannot be signalled", self.program);
        }
        crate::sys::signal(self.id(), signal).with_context(|| format!("cannot signal {}", self.program))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::warn!(program = self.program, %error, "cannot end a process of the lab");
        }
    }
}
