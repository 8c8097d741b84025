//! The binary as a user meets it: processes, pipes, exit statuses and lines on stderr.

#![forbid(unsafe_code)]

mod bench;
mod colours;
mod compose;
mod demo;
mod doctor;
mod exits;
mod gc;
mod generated;
mod hostile;
mod observe;
mod prometheus;
mod schema;
mod signals;
mod support;
mod tap;
mod terminal;
mod to_file;
mod top;
mod transfer;
mod users;
