//! Titles that a model wrote.

use serde::{Deserialize, Serialize};

use crate::{Billed, Route};

/// What a title by a model cost, and the title that it may take the place of. It counts only where that one still
/// stands: whoever named the session meanwhile is not overruled.
///
/// The first of its two records says that a model is about to be asked, and is durable before the request leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TitleMade {
    /// `None`: there was no title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// A model is about to be asked: `billed` is what that costs at worst, and counts nowhere. The bill is in a later
    /// record; where a crash took that, whoever drives a later turn writes it with what stands here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asking: bool,
    pub route: Route,
    pub billed: Billed,
    /// Why no title came of the call. Then the record's own is empty, and changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}
