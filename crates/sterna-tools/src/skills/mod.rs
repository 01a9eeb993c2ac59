//! Skills, prompt files and kinds of agents, as folders hold them. Whose folders count is said by whoever makes a `Shelf`.

mod agent_file;
mod front;
mod shelf;
mod skill;
mod slash;

pub use agent_file::parse_agent;
pub use front::{Field, FieldValue, Front, MAX_FILE, Problem, Weight};
pub use shelf::{FileProblem, Found, Origin, Pins, Place, Shelf, Shelved, read_text, skill_file};
pub use skill::{SkillText, tool_name, with_arguments};
pub use slash::{CommandText, Expansion, KEPT_TOOLS, Slash, nearest, parse_command};
