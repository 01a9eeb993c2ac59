//! The network of a confined command: which domains, which addresses, and the proxy that holds both.

mod address;
mod head;
mod pin;
mod proxy;
mod rule;
pub(crate) mod service;

pub use address::{Kind, kind};
pub use pin::{Resolver, system_resolver};
pub use proxy::{Proxy, Refusal};
pub use rule::{DomainRule, ParseRuleError};
