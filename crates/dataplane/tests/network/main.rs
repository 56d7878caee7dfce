//! The data plane on a real kernel and a real wire, in network namespaces that each test makes for itself. Without
//! the privilege to make them, the tests say that they are skipped, and why.

mod addresses;
mod balancer;
mod filter;
mod ipvs;
mod privileges;
mod support;
mod traffic;
