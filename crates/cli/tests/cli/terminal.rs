//! A terminal of a test's own, with a program in it.

use std::ffi::OsStr;
use std::io::{Read as _, Write};
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::support::{SURROUNDINGS, program, until};

/// What is started here has stdin, stdout and stderr on the terminal. When dropped, it is killed.
pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    keyboard: Box<dyn Write + Send>,
    /// The terminal is there until the end.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// `sysring` with these arguments, and these variables beside those of the test.
    pub(crate) fn start(args: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Self {
        let mut command = CommandBuilder::new(program());
        command.args(args);
        Self::run(command, variables)
    }

    /// A line of the shell, in which `$SYSRING` is the program.
    pub(crate) fn shell(line: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", line]);
        command.env("SYSRING", program());
        Self::run(command, variables)
    }

    fn run(mut command: CommandBuilder, variables: &[(&str, &str)]) -> Self {
        for name in SURROUNDINGS {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        // Else the home, which another user's environment may name.
        command.cwd("/");
        for (name, value) in variables {
            command.env(name, value);
        }
        let size = PtySize { rows: 50, cols: 200, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut stream = pair.master.try_clone_reader().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let screen = Arc::clone(&shown);
        let reader = thread::spawn(move || {
            let mut block = [0; 4096];
            // A terminal that everybody has left ends with an error (EIO).
            while let Ok(read @ 1..) = stream.read(&mut block) {
                screen.lock().unwrap().extend_from_slice(&block[..read]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self { child, shown, reader: Some(reader), keyboard, _master: pair.master }
    }

    /// As somebody does who sits there.
    pub(crate) fn press_ctrl_c(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
        self.keyboard.flush().unwrap();
    }

    /// All that it has shown so far.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits for the end: its status, and what it has shown, with the terminal's line ends made ours.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (u32, String) {
        let mut status = None;
        until("the program in the terminal ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.reader.take().unwrap().join().unwrap();
        (status.unwrap().exit_code(), self.shown().replace("\r\n", "\n"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is left to see of what was shown, without empty rows.
pub(crate) fn screen(shown: &str) -> String {
    let mut parser = vt100::Parser::new(NonZero::new(50).unwrap(), NonZero::new(200).unwrap(), 0);
    parser.process(shown.replace('\n', "\r\n").as_bytes());
    let rows = parser.screen().rows(0, 200).map(|row| row.trim_end().to_owned());
    rows.filter(|row| !row.is_empty()).collect::<Vec<_>>().join("\n")
}
