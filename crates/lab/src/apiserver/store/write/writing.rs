//! How a write is done: in whose name, for real or not, and how strictly its body is read.

use crate::apiserver::apply::{Manager, OnConflict};
use crate::apiserver::resource::Resource;
use crate::apiserver::status::ApiStatus;

/// Whether a write is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    #[default]
    Real,
    /// It is checked and answered as if, and forgotten (`dryRun=All`).
    DryRun,
}

/// What becomes of fields that the kind does not have (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::apiserver) enum Validation {
    /// They are dropped.
    #[default]
    Ignore,
    /// They are dropped, and named in `Warning` headers.
    Warn,
    /// They are refused.
    Strict,
}

/// One write's circumstances.
#[derive(Clone, Debug)]
pub(in crate::apiserver) struct Writing {
    pub(in crate::apiserver) manager: String,
    pub(in crate::apiserver) mode: Mode,
    pub(in crate::apiserver) on_conflict: OnConflict,
    pub(in crate::apiserver) validation: Validation,
    /// What the client is to be warned of.
    pub(in crate::apiserver) warnings: Vec<String>,
}

impl Writing {
    /// For real, in this manager's name.
    pub(in crate::apiserver) fn by(manager: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            mode: Mode::Real,
            on_conflict: OnConflict::Refuse,
            validation: Validation::Ignore,
            warnings: Vec::new(),
        }
    }

    pub(super) fn manager(&self, subresource: &'static str) -> Manager {
        Manager { name: self.manager.clone(), subresource }
    }

    /// Deals with fields that the kind does not have.
    pub(super) fn meet_unknown(
        &mut self,
        resource: &Resource,
        unknown: Vec<String>,
    ) -> Result<(), ApiStatus> {
        let mut told: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
        match self.validation {
            Validation::Ignore => {}
            Validation::Warn => self.warnings.append(&mut told),
            Validation::Strict if told.is_empty() => {}
            Validation::Strict => {
                let (kind, version) = (resource.kind, resource.version);
                return Err(ApiStatus::bad_request(format!(
                    "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
                    told.join(", ")
                )));
            }
        }
        Ok(())
    }
}
