//! The terminal: taken at the start, given back at every end, and what comes from it and from signals.

use std::io::{self, Stdout, stdout};
use std::mem::ManuallyDrop;
use std::panic;
use std::process;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// How long the main thread may take to end after a signal: it may be blocked by a terminal that takes nothing.
const GRACE: Duration = Duration::from_millis(500);

/// What the main thread is told.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    /// Draw again: the size is another one.
    Resized,
    /// SIGINT, SIGTERM or SIGHUP.
    End(i32),
    /// SIGTSTP.
    Suspend,
    /// SIGCONT: another may have changed the terminal meanwhile.
    Continued,
    /// No more keys will come.
    Closed(io::Error),
}

/// Signals come as inputs from now on.
pub(super) fn signals() -> io::Result<(Sender<Input>, Receiver<Input>)> {
    let (sender, receiver) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT])?;
    let inputs = sender.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let input = match signal {
                SIGTSTP => Input::Suspend,
                SIGCONT => Input::Continued,
                signal => Input::End(signal),
            };
            let is_end = matches!(input, Input::End(_));
            // If nobody listens any more, the end is near anyhow.
            let _ = inputs.send(input);
            if is_end {
                thread::sleep(GRACE);
                // Not the alternate screen: that would wait for the terminal too.
                let _ = disable_raw_mode();
                process::exit(128 + signal);
            }
        }
    })?;
    Ok((sender, receiver))
}

/// Keys come as inputs from now on. They are read in a thread of their own, because a terminal that has gone makes
/// that thread turn in circles, or wait for ever.
pub(super) fn keys(inputs: Sender<Input>) -> io::Result<()> {
    thread::Builder::new().name("keys".into()).spawn(move || {
        loop {
            let input = match event::read() {
                Ok(Event::Key(key)) => Input::Key(key),
                Ok(Event::Resize(..)) => Input::Resized,
                Ok(_) => continue,
                Err(error) => Input::Closed(error),
            };
            let is_last = matches!(input, Input::Closed(_));
            if inputs.send(input).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(())
}

/// The terminal in raw mode with the alternate screen, until dropped.
#[derive(Debug)]
pub(super) struct Screen {
    /// Never dropped: that would tell stderr of a cursor it cannot show, and panic if stderr is the terminal that
    /// has gone.
    pub(super) terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
}

impl Screen {
    /// Takes the terminal; a panic gives it back before it says anything.
    pub(super) fn take() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        enter()?;
        match Terminal::new(CrosstermBackend::new(stdout())) {
            Ok(terminal) => Ok(Self { terminal: ManuallyDrop::new(terminal) }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Gives the terminal back and stops, until SIGCONT.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        emulate_default_handler(SIGTSTP)?;
        self.take_again()
    }

    /// Takes the terminal again, whatever others have made of it, and forgets what was on the screen.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        // What crossterm takes for the modes to come back to must be those of now.
        disable_raw_mode()?;
        enter()?;
        // Not `clear`, which asks the terminal for the cursor, and the answer would go to the thread that reads keys.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::new(0, 0, size.width, size.height))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen).inspect_err(|_| give_back())
}

/// As far as it goes: each part is tried, and at the end there is nobody to tell of a failure.
fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    use super::*;

    /// Runs in a terminal of its own, see below.
    #[test]
    #[ignore = "it panics"]
    fn a_panic_with_the_terminal() {
        let _screen = Screen::take().unwrap();
        assert!(ratatui::crossterm::terminal::is_raw_mode_enabled().unwrap());
        panic!("as it was told");
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let pty = native_pty_system().openpty(PtySize { rows: 24, cols: 80, ..PtySize::default() }).unwrap();
        let modes = || format!("{:?}", pty.master.get_termios().unwrap());
        let before = modes();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args([
            "--ignored",
            "--exact",
            "top::terminal::tests::a_panic_with_the_terminal",
            "--nocapture",
        ]);
        let mut child = pty.slave.spawn_command(command).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let reading = thread::spawn(move || {
            let (mut all, mut part) = (Vec::new(), [0; 4096]);
            // The end comes as an error once nobody has the other side.
            while let Ok(length @ 1..) = reader.read(&mut part) {
                all.extend_from_slice(&part[..length]);
            }
            all
        });
        assert!(!child.wait().unwrap().success());
        assert_eq!(modes(), before);
        drop(pty.slave);
        let said = String::from_utf8_lossy(&reading.join().unwrap()).into_owned();
        let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text:?} in {said:?}"));
        assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l"), "{said:?}");
        assert!(place("\u{1b}[?1049l") < place("as it was told"), "{said:?}");
        assert!(place("\u{1b}[?25h") < place("as it was told"), "{said:?}");
    }
}
