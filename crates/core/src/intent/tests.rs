//! Tables for what a person can check, and properties for what has a law.

mod assignments;
mod churn;
mod claims;
mod eligibility;
mod filter;
mod known;
mod ours;
mod properties;
mod snapshot;
mod words;
mod world;
