//! The terminal: taken, and given back as it was, whatever ends the program.

use super::draw::draw;
use super::model::Model;
use nix::sys::signal::{Signal, raise};
use ratatui::DefaultTerminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, disable_raw_mode, enable_raw_mode};
use std::io::{self, stdout};

/// The terminal while it is ours. Dropping it, or a panic, gives it back.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal: raw mode, and the screen that what was on it is kept from.
    pub fn open() -> io::Result<Screen> {
        // It has panics give the terminal back, too.
        Ok(Screen { terminal: ratatui::try_init()? })
    }

    pub fn draw(&mut self, model: &mut Model) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame, model))?;
        Ok(())
    }

    /// Gives the terminal to the shell until it lets this process go on.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.terminal.show_cursor()?;
        ratatui::try_restore()?;
        raise(Signal::SIGSTOP)?;
        self.retake()
    }

    /// Takes the terminal again, of which a shell may have made something else since.
    pub fn retake(&mut self) -> io::Result<()> {
        // It is raw already, as far as crossterm knows.
        disable_raw_mode()?;
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        // One that knows of nothing on the screen. (Clearing it asks the terminal where the cursor is, and the answer
        // comes to who waits for keys.)
        self.terminal = DefaultTerminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody could be told.
        let _ = ratatui::try_restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::Command;

    const PANICS: &str = "NLBUS_TEST_PANICS";

    /// Before the panic says anything, so that it is read.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if env::var_os(PANICS).is_some() {
            let _screen = Screen::open().unwrap();
            panic!("on purpose");
        }
        let name = "verbs::top::screen::tests::a_panic_gives_the_terminal_back";
        let test = env::current_exe().unwrap();
        let line = format!("'{}' --exact {name} --nocapture", test.display());
        // script(1) gives it a terminal.
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).env(PANICS, "1").output();
        let output = output.expect("script is needed: bsdutils");
        let said = String::from_utf8_lossy(&output.stdout);
        let [entered, left, panicked] =
            ["\x1b[?1049h", "\x1b[?1049l", "on purpose"].map(|what| said.find(what).expect(what));
        assert!(entered < left && left < panicked, "{said:?}");
    }
}
