//! What keys do.

use super::model::{Column, Editing, Model};
use nlbus::Filter;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What is to be done besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    None,
    Quit,
    Interrupt,
    Suspend,
    LookNow,
}

/// The keys, and what they do.
pub const HELP: [(&str, &str); 12] = [
    ("q", "quit"),
    ("p, space", "pause, and go on"),
    ("/", "show topics that match a filter only; empty for all"),
    ("<, >", "sort by the column to the left, to the right"),
    ("t e b k s d", "sort by topic, events/s, bytes/s, kept, subscribers, drops"),
    ("r", "reverse the order"),
    ("↑ ↓ PgUp PgDn", "move; also Home and End"),
    ("1, 2", "show or hide the newest events, the clients"),
    ("l", "look now"),
    ("h, ?", "this help"),
    ("SUBS", "sockets in its group, which topics share; - beyond group 32"),
    ("BYTES/S", "by the size of the events that are kept"),
];

/// Does what a key says, as far as that is the model's.
pub fn command(model: &mut Model, event: &Event) -> Command {
    let Event::Key(key) = event else { return Command::None };
    if key.kind == KeyEventKind::Release {
        return Command::None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Command::Interrupt,
            KeyCode::Char('z') => Command::Suspend,
            KeyCode::Char('l') => Command::LookNow,
            _ => Command::None,
        };
    }
    if let Some(editing) = model.editing.take() {
        return edit(model, editing, key);
    }
    if model.shows_help {
        model.shows_help = false;
        return Command::None;
    }
    match key.code {
        KeyCode::Char('q') => return Command::Quit,
        KeyCode::Char('l') => return Command::LookNow,
        KeyCode::Char('p' | ' ') => model.is_paused = !model.is_paused,
        KeyCode::Char('h' | '?') => model.shows_help = true,
        KeyCode::Char('1') => model.shows_events = !model.shows_events,
        KeyCode::Char('2') => model.shows_clients = !model.shows_clients,
        KeyCode::Char('/') => {
            let text = model.filter.as_ref().map(|filter| filter.as_str().to_owned()).unwrap_or_default();
            model.editing = Some(Editing { text, error: None });
        }
        KeyCode::Char('r') => model.is_reversed = !model.is_reversed,
        KeyCode::Char('<') => sort_beside(model, -1),
        KeyCode::Char('>') => sort_beside(model, 1),
        KeyCode::Char('t') => model.sort = Column::Topic,
        KeyCode::Char('e') => model.sort = Column::Rate,
        KeyCode::Char('b') => model.sort = Column::Bytes,
        KeyCode::Char('k') => model.sort = Column::Kept,
        KeyCode::Char('s') => model.sort = Column::Subscribers,
        KeyCode::Char('d') => model.sort = Column::Drops,
        KeyCode::Up => model.select(-1),
        KeyCode::Down => model.select(1),
        KeyCode::PageUp => model.select(-10),
        KeyCode::PageDown => model.select(10),
        KeyCode::Home => model.select(isize::MIN),
        KeyCode::End => model.select(isize::MAX),
        _ => {}
    }
    model.arrange();
    Command::None
}

fn sort_beside(model: &mut Model, by: isize) {
    let at = Column::ALL.iter().position(|column| *column == model.sort).unwrap_or_default();
    model.sort = Column::ALL[at.saturating_add_signed(by).min(Column::ALL.len() - 1)];
}

/// What is shown changes with the next look.
fn edit(model: &mut Model, mut editing: Editing, key: &KeyEvent) -> Command {
    match key.code {
        KeyCode::Esc => return Command::None,
        KeyCode::Enter if editing.text.is_empty() => {
            model.filter = None;
            return Command::LookNow;
        }
        KeyCode::Enter => match Filter::new(&editing.text) {
            Ok(filter) => {
                model.filter = Some(filter);
                return Command::LookNow;
            }
            Err(error) => editing.error = Some(error.to_string()),
        },
        KeyCode::Backspace => drop(editing.text.pop()),
        KeyCode::Char(c) => {
            editing.text.push(c);
            editing.error = None;
        }
        _ => {}
    }
    model.editing = Some(editing);
    Command::None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(model: &mut Model, keys: &str) -> Vec<Command> {
        let code = |c| match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            c => KeyCode::Char(c),
        };
        keys.chars().map(|c| command(model, &Event::Key(KeyEvent::new(code(c), KeyModifiers::NONE)))).collect()
    }

    #[test]
    fn keys_do_what_help_says() {
        let mut model = Model::new(&"#".parse().unwrap());
        assert_eq!(press(&mut model, "ql"), [Command::Quit, Command::LookNow]);
        press(&mut model, "p");
        assert!(model.is_paused);
        press(&mut model, " ");
        assert!(!model.is_paused);
        press(&mut model, "t>>r12");
        assert!(model.sort == Column::Bytes && model.is_reversed && !model.shows_events && !model.shows_clients);
        press(&mut model, "<<<<");
        assert_eq!(model.sort, Column::Topic);
        assert_eq!(press(&mut model, "hq"), [Command::None; 2], "any key closes the help");
        assert!(!model.shows_help);
        let control = |c| Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
        assert_eq!(command(&mut model, &control('c')), Command::Interrupt);
        assert_eq!(command(&mut model, &control('z')), Command::Suspend);
    }

    #[test]
    fn a_filter_is_typed_and_checked() {
        let mut model = Model::new(&"#".parse().unwrap());
        press(&mut model, "/a/+q\x08\n");
        assert_eq!(model.filter.as_ref().map(Filter::as_str), Some("a/+"));
        press(&mut model, "/#\n");
        assert!(model.editing.as_ref().is_some_and(|editing| editing.error.is_some()), "{:?}", model.editing);
        press(&mut model, "\x1b");
        assert_eq!((model.editing.clone(), model.filter.as_ref().map(Filter::as_str)), (None, Some("a/+")));
        press(&mut model, "/\x08\x08\x08\n");
        assert_eq!(model.filter, None);
    }
}
