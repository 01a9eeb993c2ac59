//! Points of a session as they are written on the command line: `ID`, `ID@SEQ`, `ID@TURN.STEP`.

use sterna_log::{HISTORY_PAGE, Log};
use sterna_model::{Seq, SessionId, StepNo, TurnNo};

use crate::failure::Failure;

/// A session, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub session: SessionId,
    /// `None`: its head.
    pub at: Option<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Seq(Seq),
    /// The end of a step.
    Step(TurnNo, StepNo),
}

impl Point {
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let Some((id, at)) = text.rsplit_once('@') else {
            return Ok(Self { session: SessionId::new(text)?, at: None });
        };
        let at = match at.split_once('.') {
            Some((turn, step)) => {
                turn.parse().ok().zip(step.parse().ok()).map(|(turn, step)| At::Step(turn, step))
            }
            None => at.parse().ok().map(At::Seq),
        };
        let at = at.ok_or_else(|| {
            Failure::usage(format!("`{text}` names no point of a session"))
                .hint("write ID@SEQ, the number of a record, or ID@TURN.STEP")
        })?;
        Ok(Self { session: SessionId::new(id)?, at: Some(at) })
    }

    /// The record that the point stands at; `None`: the head.
    pub async fn seq(&self, log: &dyn Log) -> Result<Option<Seq>, Failure> {
        let Self { session, at } = self;
        let head = log.head(session).await?.seq;
        match *at {
            None => Ok(None),
            Some(At::Seq(seq)) if (1..=head).contains(&seq) => Ok(Some(seq)),
            Some(At::Seq(seq)) => {
                Err(Failure::usage(format!("session `{session}` has records 1 to {head}, not {seq}")))
            }
            Some(At::Step(turn, step)) => {
                let mut found = None;
                let mut from = 1;
                loop {
                    let page = log.read(session, from, HISTORY_PAGE).await?;
                    let Some(last) = page.last() else { break };
                    from = last.record.seq + 1;
                    let of_step = page
                        .iter()
                        .rev()
                        .find(|sealed| sealed.record.turn == Some(turn) && sealed.record.step == Some(step));
                    found = of_step.map(|sealed| sealed.record.seq).or(found);
                }
                let missing =
                    || Failure::usage(format!("session `{session}` has no step {step} in turn {turn}"));
                found.map(Some).ok_or_else(missing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sessions_records_or_steps() {
        let demo = SessionId::new("demo").unwrap();
        let of = |at| Point { session: demo.clone(), at };
        assert_eq!(Point::parse("demo"), Ok(of(None)));
        assert_eq!(Point::parse("demo@7"), Ok(of(Some(At::Seq(7)))));
        assert_eq!(Point::parse("demo@2.13"), Ok(of(Some(At::Step(2, 13)))));
        for wrong in ["", "demo@", "demo@x", "demo@1.2.3", "de mo", "demo@-1", "@3"] {
            assert_eq!(Point::parse(wrong).map_err(|failure| failure.code), Err(2), "{wrong}");
        }
    }
}
