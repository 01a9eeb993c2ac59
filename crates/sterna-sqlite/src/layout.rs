//! How the records lie in their table. A store keeps the layout that it was made with.

use sterna_model::Seq;

/// Where a session's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Versions 1 and 2 of the tables: by the session and the record's number.
    Pairs,
    /// From version 3 on: both are one row number, the session in its upper half. A row then lies whole in its page, where the
    /// other layout takes a page of its own for most of it, and new rows fill the last page instead of sharing out those
    /// before it: a step writes a third less.
    Rows,
}

/// The last number that a record may have: the lower half of its row number.
pub const LAST_SEQ: Seq = u32::MAX as Seq;

impl Layout {
    pub fn of(version: u32) -> Self {
        if version < 3 { Self::Pairs } else { Self::Rows }
    }

    /// Session, number, append, hash, data.
    pub fn insert(self) -> &'static str {
        match self {
            Self::Pairs => {
                "INSERT INTO records (session, seq, append_id, hash, data) VALUES (?1, ?2, ?3, ?4, ?5)"
            }
            Self::Rows => {
                "INSERT INTO records (id, append_id, hash, data) VALUES ((?1 << 32) + ?2, ?3, ?4, ?5)"
            }
        }
    }

    /// Columns of the records of session `?1` from number `?2` on, in their order.
    pub fn select(self, columns: &str) -> String {
        let (from, order) = (self.from(), self.order());
        format!("SELECT {columns} FROM records WHERE {from} ORDER BY {order}")
    }

    /// Columns of record `?2` of session `?1`.
    pub fn select_one(self, columns: &str) -> String {
        let one = match self {
            Self::Pairs => "session = ?1 AND seq = ?2",
            Self::Rows => "id = (?1 << 32) + ?2",
        };
        format!("SELECT {columns} FROM records WHERE {one}")
    }

    /// Removes the records of session `?1` from number `?2` on.
    pub fn delete(self) -> String {
        format!("DELETE FROM records WHERE {}", self.from())
    }

    /// Whether there are records of the session whose row the query calls `child`.
    pub fn child_has_some(self) -> &'static str {
        match self {
            Self::Pairs => "EXISTS (SELECT 1 FROM records WHERE session = child.id)",
            Self::Rows => {
                "EXISTS (SELECT 1 FROM records WHERE records.id >= child.id << 32 AND records.id < (child.id + 1) << 32)"
            }
        }
    }

    fn from(self) -> &'static str {
        match self {
            Self::Pairs => "session = ?1 AND seq >= ?2",
            Self::Rows => "id >= (?1 << 32) + ?2 AND id < (?1 + 1) << 32",
        }
    }

    fn order(self) -> &'static str {
        match self {
            Self::Pairs => "seq",
            Self::Rows => "id",
        }
    }
}
